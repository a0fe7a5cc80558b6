"""Errors that end a correctly configured run. The message says what happened and what to do; no traceback is shown."""

import traceback
from collections.abc import Iterator

from conf.errors import ConfigError


class RunError(RuntimeError):
    """The run cannot continue. Finished work is kept, and the same command resumes from it."""


class DamagedError(ConfigError):
    """A file of a run is missing or not as it was written: `damage` names it, `remedy` says what is lost and what to do."""

    def __init__(self, damage: str, remedy: str) -> None:
        super().__init__(f"{damage}: {remedy}.")
        self.damage = damage


class NoSignalError(RunError):
    """The model's texts leave a role nothing to learn from; no part of the run has failed.

    `settings` are those to change in another run, as `--set` takes them.
    """

    def __init__(self, message: str, settings: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.settings = settings


class MismatchError(RunError):
    """The rollout workers and the learner disagree on the policy's log-probabilities or weights."""


class LearnerError(RunError):
    """A learner rank failed, or training diverged."""


class LearnerLostError(LearnerError):
    """A learner rank died, hung or failed. New ranks can resume from the phase's last checkpoint."""


class ScorerError(RunError):
    """A scorer of the Challenger's reward failed, or returned an invalid reward."""


class GraderError(RunError):
    """A grader failed to read the answer of a response."""


class RewardError(RunError):
    """The reward actor failed several times in a row, or a grader failed in it."""


class ClusterLostError(RunError):
    """One of Ray's own services died, or does not run."""


class RolloutError(RunError):
    """Rollout workers die faster than they can be replaced."""


def with_place(error: Exception) -> str:
    """An error of a user's code in one line, with its place.

    >>> try: [].pop()
    ... except IndexError as error: print(with_place(error))
    IndexError: pop from empty list (<doctest pipeline.errors.with_place[0]>, line 1)
    """
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({place.filename}, line {place.lineno})"


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, its cause, the cause's cause, and so on, each once."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        yield current
        seen.add(id(current))
        current = current.__cause__ or current.__context__
