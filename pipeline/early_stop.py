"""Ends a phase that has nothing to learn from, with what the model wrote and what to change, or whose updates are not finite."""

from conf.schema import Config
from pipeline.algorithm.signal import PATIENCE, Missing, advice, missing_signal
from pipeline.errors import LearnerError, NoSignalError
from pipeline.history import PhaseHistory
from pipeline.observe.terminal import printable
from pipeline.types import Role, Sample, ScoredGroups

MAX_SKIPPED = 3  # steps in a row
SHOWN = 4  # responses
WIDTH = 300  # cells of each
WANTED: dict[Role, str] = {
    "challenger": "is a well-formed question (one <question>...</question> and one \\boxed{answer})",
    "solver": "has a boxed answer (\\boxed{answer})",
}


def stop_without_signal(config: Config, history: PhaseHistory, scored: ScoredGroups, for_base: bool) -> None:
    """Looks at the phase's steps up to the last recorded one, whose samples and rewards are `scored`.

    `for_base`: see `algorithm.signal.advice`.

    Raises:
        NoSignalError: there is nothing to learn from; see `algorithm.signal.missing_signal`.
    """
    missing = missing_signal(history.role, history.metrics, len(scored.groups))
    if missing is None:
        return
    samples = [sample for group in scored.groups for sample in group]
    change = advice(config, history.role, missing, history.metrics[-1], [sample.text for sample in samples], for_base)
    lines = [
        f"round {history.round} {history.role}, step {history.steps}: {found(history.role, missing, samples)}, so there is "
        "nothing to learn from.",
        f"Responses of this step ({history.samples} has all):",
        *shown(samples),
        f"Change {change.words}.",
        "The same command resumes from the phase's last checkpoint, and stops here again; stop_without_signal=false trains on.",
    ]
    raise NoSignalError("\n".join(lines), change.settings)


def stop_after_skipped(history: PhaseHistory) -> None:
    """Looks at the phase's last steps, also those before an interruption.

    Raises:
        LearnerError: `MAX_SKIPPED` steps in a row had an update whose loss or gradient was not finite.
    """
    last = [step["skipped_updates"] for step in history.metrics[-MAX_SKIPPED:]]
    if len(last) == MAX_SKIPPED and all(last):
        raise LearnerError(
            f"round {history.round} {history.role}, step {history.steps}: {MAX_SKIPPED} updates in a row had a non-finite loss "
            f"or gradient (last loss {history.metrics[-1]['loss']}) and were skipped; the learning rate may be too high."
        )


def found(role: Role, missing: Missing, samples: list[Sample]) -> str:
    if missing == "difference":
        return f"in {PATIENCE} steps in a row all rewards within each group are equal"
    cut_off = sum(sample.truncated for sample in samples)
    return f"none of {len(samples)} responses {WANTED[role]}, and {cut_off} were cut off"


def shown(samples: list[Sample]) -> list[str]:
    """A few responses, evenly spread, each a line that is safe to print."""
    count = min(SHOWN, len(samples))
    texts = [samples[index * len(samples) // count].text for index in range(count)]
    return [f"  | {printable(text, WIDTH) or '(nothing)'}" for text in texts]
