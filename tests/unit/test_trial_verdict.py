"""What is concluded from a base's questions and answers, without an engine."""

import pytest

from conf.load import load_config
from conf.schema import Config
from jobs.checks.trial import ANSWERS, QUESTIONS, Trial
from jobs.checks.verdict import show_texts, trial_findings
from pipeline.types import Sample, Vote

WELL = r"<question>What is 2 + 3?</question> \boxed{5}"
CONFIG = load_config()


def sample(text: str, tokens: int = 20, cut_off: bool = False) -> Sample:
    return Sample((1,), tuple(range(tokens)), (-1.0,) * tokens, text, "length" if cut_off else "stop", "base", 0)


def trial(
    written: list[Sample],
    formed: int,
    complete: int | None = None,
    answers: list[Sample] | None = None,
    boxed: float = 1.0,
    shares: tuple[int, ...] = (2,),
    clusters: int | None = None,
) -> Trial:
    """A trial of which the first `formed` responses are well-formed, and the first `complete` but for being cut off."""
    drawn = answers if answers is not None else [sample(r"\boxed{5}")] * 64
    return Trial(
        written=written,
        questions=["What is 2 + 3?" if place < formed else None for place in range(len(written))],
        complete=["What is 2 + 3?" if place < (complete or formed) else None for place in range(len(written))],
        answers=drawn,
        boxed=[place < boxed * len(drawn) for place in range(len(drawn))],
        votes=[Vote("5", count, ANSWERS) for count in shares],
        clusters=formed if clusters is None else clusters,
        seconds=2.0,
    )


def concluded(
    of: Trial, config: Config = CONFIG, positions: int | None = 512, for_base: bool = False
) -> dict[str, tuple[str, str]]:
    findings = trial_findings(of, config, positions, for_base)
    return {each.name: (each.level, each.do) for each in findings if each.level != "ok"}


def test_a_base_that_does_what_it_should_is_ready() -> None:
    good = trial([sample(WELL)] * QUESTIONS, formed=60)
    assert concluded(good) == {}
    found = {each.name: each.found for each in trial_findings(good, CONFIG, 512, False)}
    assert found["questions"].startswith("60 of 64 well-formed (94%), 0% cut off, 20 to 20 tokens, median 20")
    assert found["p-hat"] == (
        "0.00: 0, 0.25: 0, 0.50: 1, 0.75: 0, 1.00: 0; two or more of 4 answers agree on 100% of 1 questions, all of them on 0%"
    )
    assert good.tokens_per_s == 20 * 128 / 2
    assert good.lengths == (20, 20)


def test_a_base_without_the_format_needs_other_prompts() -> None:
    hopeless = trial([sample("Once upon a time", cut_off=True)] * QUESTIONS, formed=0, answers=[], shares=(), clusters=0)
    assert concluded(hopeless) == {"questions": ("fault", "prompts=conf/prompts/base.yaml")}
    rare = trial([sample("Once upon a time")] * QUESTIONS, formed=20)
    assert concluded(rare) == {"questions": ("warning", "prompts=conf/prompts/base.yaml")}


def test_what_is_tried_next_where_the_prompts_are_those_of_a_base() -> None:
    cooler = load_config(overrides=["sampling.temperature=0.7"])
    rare = trial([sample("Once upon a time")] * QUESTIONS, formed=20)
    assert concluded(rare, for_base=True) == {"questions": ("warning", "sampling.temperature=0.7")}
    assert "other `examples`" in concluded(rare, cooler, for_base=True)["questions"][1]


def test_questions_that_are_cut_off_need_length() -> None:
    begun = trial([sample("<question>A train", 96, cut_off=True)] * QUESTIONS, formed=10)
    assert concluded(begun) == {"questions": ("warning", "sampling.max_tokens=192 model.max_length=352")}
    assert concluded(begun, positions=256) == {"questions": ("warning", "prompts=conf/prompts/base.yaml")}
    # They are complete and only do not end: a longer response would not end either.
    endless = trial([sample(f"{WELL} and so on", 96, cut_off=True)] * QUESTIONS, formed=10, complete=QUESTIONS)
    assert concluded(endless) == {"questions": ("warning", "prompts=conf/prompts/base.yaml")}


def test_answers_without_a_box_or_cut_off() -> None:
    plain = trial([sample(WELL)] * QUESTIONS, 60, boxed=0.0, shares=(2,))
    assert concluded(plain) == {"answers": ("fault", "prompts=conf/prompts/base.yaml")}
    long = trial([sample(WELL)] * QUESTIONS, 60, answers=[sample("so", 96, cut_off=True)] * 64, boxed=0.2, shares=(2,))
    assert concluded(long) == {"answers": ("warning", "sampling.max_tokens=192 model.max_length=352")}


def test_one_question_over_and_over_and_no_doubt() -> None:
    same = trial([sample(WELL)] * QUESTIONS, 60, clusters=3)
    assert concluded(same) == {"variety": ("warning", "sampling.temperature=1.2")}
    sure = trial([sample(WELL)] * QUESTIONS, 60, shares=(4,) * 16)
    assert concluded(sure) == {"p-hat": ("warning", "sampling.temperature=1.2")}
    chance = trial([sample(WELL)] * QUESTIONS, 60, shares=(1,) * 13 + (2,) * 3)
    assert concluded(chance) == {"p-hat": ("warning", "sampling.temperature=0.7")}
    warm = load_config(overrides=["sampling.temperature=1.3"])
    assert "drawn `examples`" in concluded(same, warm)["variety"][1]


def test_texts_are_shown_without_what_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    show_texts(trial([sample("\x1b[2J[bold]red[/bold]\nnext"), sample(""), *[sample(WELL)] * 62], formed=0))
    printed = capsys.readouterr().out
    assert "[bold]red[/bold] next" in printed
    assert "(empty)" in printed
    assert "\x1b" not in printed
    assert printed.count("malformed") == 5
