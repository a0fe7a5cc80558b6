"""Errors that end a correctly configured run. The message says what happened and what to do; no traceback is shown."""


class RunError(RuntimeError):
    """The run cannot continue. Finished work is kept, and the same command resumes from it."""


class EmptyCurriculumError(RunError):
    """No question was kept, so the Solver has no training data."""


class MismatchError(RunError):
    """The rollout workers and the learner disagree on the policy's log-probabilities or weights."""


class LearnerError(RunError):
    """A learner rank failed, or training diverged. The message names the rank."""


class ScorerError(RunError):
    """A scorer of the Challenger's reward failed, or returned an invalid reward."""


class RewardError(RunError):
    """The reward actor died more often than Ray restarts it."""


class RolloutError(RunError):
    """Rollout workers die faster than they can be replaced."""
