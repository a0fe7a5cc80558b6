"""What a trial says about a base model and its prompts: findings, and what to change, as settings to type."""

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.text import Text

from conf.schema import Config
from jobs.checks.finding import Finding, compared
from jobs.checks.trial import ANSWERS, Trial
from pipeline.algorithm.advice import BASE_PROMPTS, longer_responses, warmer
from pipeline.observe.terminal import console, printable
from pipeline.types import Sample, Vote

WANTED = 0.5  # share of well-formed questions, and of answers in a box, from which on a run has enough to learn from
HOPELESS = 0.1  # share below which most groups have no difference in reward
LEAST_AGREED = 0.25  # share of questions on which two answers agree, below which labels are chance
MOST_SURE = 0.9  # share of questions on which all answers agree, above which few are kept
COOLEST = 0.5  # temperature below which answers do not differ
SHOWN = 5


def share(values: Sequence[object]) -> float:
    """The share of true values; 0 without any."""
    return sum(map(bool, values)) / len(values) if values else 0.0


def spread(samples: Sequence[Sample]) -> str:
    """The lengths of responses in tokens."""
    lengths = sorted(len(sample.token_ids) for sample in samples)
    return f"{lengths[0]} to {lengths[-1]} tokens, median {lengths[len(lengths) // 2]}" if lengths else "none"


def histogram(votes: Sequence[Vote]) -> str:
    """How many questions have which p-hat.

    >>> histogram([Vote("1", 4, 4), Vote("2", 2, 4), Vote("3", 2, 4)])
    '0.00: 0, 0.25: 0, 0.50: 2, 0.75: 0, 1.00: 1'
    """
    counts = Counter(round(vote.share * ANSWERS) for vote in votes)
    return ", ".join(f"{count / ANSWERS:.2f}: {counts[count]}" for count in range(ANSWERS + 1))


def trial_findings(trial: Trial, config: Config, positions: int | None, for_base: bool) -> list[Finding]:
    """Questions, answers, variety and votes, each with the settings that would change it.

    Args:
        positions: of the model, which bound how long a response may become; None if unknown.
        for_base: whether the prompts are for base models already: plain text that a response continues.
    """
    return [question_finding(trial, config, positions, for_base), *answer_findings(trial, config, positions, for_base)]


def question_finding(trial: Trial, config: Config, positions: int | None, for_base: bool) -> Finding:
    formed, cut = share(trial.questions), share([sample.truncated for sample in trial.written])
    longest = config.sampling.max_tokens
    return compared(
        "questions",
        f"{len(trial.usable)} of {len(trial.questions)} well-formed ({formed:.0%}), {cut:.0%} cut off, {spread(trial.written)}, "
        f"of sampling.max_tokens={longest}",
        f"{WANTED:.0%} well-formed",
        better_questions(trial, config, positions, for_base),
        fault=formed < HOPELESS,
        warning=formed < WANTED,
    )


def better_questions(trial: Trial, config: Config, positions: int | None, for_base: bool) -> str:
    """The settings that would make more responses well-formed, by what is wrong with the malformed ones."""
    bad = [place for place, question in enumerate(trial.questions) if question is None]
    runs_on = share([trial.complete[place] is not None for place in bad])
    begun = share([trial.written[place].truncated and "<question>" in trial.written[place].text for place in bad])
    if begun > WANTED and runs_on < WANTED and (longer := longer_responses(config, positions)):
        return " ".join(longer)
    if not for_base:
        return f"prompts={BASE_PROMPTS}"
    if config.sampling.temperature > 0.7:
        return f"sampling.temperature={max(0.7, config.sampling.temperature - 0.3):.1f}"
    return "prompts=FILE with other `examples`, `prefill` and `stop` (docs/prompts.md)"


def answer_findings(trial: Trial, config: Config, positions: int | None, for_base: bool) -> Iterator[Finding]:
    if not trial.answers:
        return
    cut, boxed = share([sample.truncated for sample in trial.answers]), share(trial.boxed)
    longer = longer_responses(config, positions) if cut >= WANTED else ()
    prompts = "prompts=FILE with other solver `examples` (docs/prompts.md)" if for_base else f"prompts={BASE_PROMPTS}"
    yield compared(
        "answers",
        f"{boxed:.0%} of {len(trial.answers)} in a box, {cut:.0%} cut off, {spread(trial.answers)}",
        f"{WANTED:.0%} in a box",
        " ".join(longer) or prompts,
        fault=boxed < HOPELESS,
        warning=boxed < WANTED,
    )
    varied = " ".join(warmer(config)) or "prompts=FILE with drawn `examples` (docs/prompts.md)"
    yield compared(
        "variety",
        f"{trial.clusters} clusters among {len(trial.usable)} questions, by BLEU",
        "at least half as many clusters as questions",
        varied,
        warning=trial.clusters < len(trial.usable) / 2,
    )
    agreed, sure = (share([vote.count >= least for vote in trial.votes]) for least in (2, ANSWERS))
    cooler = f"sampling.temperature={max(COOLEST, config.sampling.temperature - 0.3):.1f}"
    yield compared(
        "p-hat",
        f"{histogram(trial.votes)}; two or more of {ANSWERS} answers agree on {agreed:.0%} of {len(trial.votes)} questions, all "
        f"of them on {sure:.0%}",
        "some agreement, and some doubt",
        varied if agreed >= LEAST_AGREED else cooler,
        warning=agreed < LEAST_AGREED or sure > MOST_SURE,
    )


def show_texts(trial: Trial) -> None:
    """Prints five responses as they are, safe for a terminal, and which of them are well-formed."""
    console.print(Text(f"\nthe first {SHOWN} of the Challenger's responses", style="bold"))
    for sample, question in list(zip(trial.written, trial.questions, strict=True))[:SHOWN]:
        mark = "well-formed" if question is not None else "cut off" if sample.truncated else "malformed"
        console.print(Text.assemble("  ", (f"{mark:<12}", "dim"), printable(sample.text, 400) or "(empty)"), soft_wrap=True)
