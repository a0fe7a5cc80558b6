"""What can stop a run that was set up rightly. The message says what happened and what can be done; no traceback is needed."""


class RunError(RuntimeError):
    """The run cannot go on. What it finished is kept, and the same command goes on from there."""


class EmptyCurriculumError(RunError):
    """No question was kept, so there is nothing to train the Solver on."""


class MismatchError(RunError):
    """The rollout workers and the learner disagree about the policy's log-probabilities: they do not hold the same weights."""


class LearnerError(RunError):
    """A learner rank failed, or training diverged. The message names the rank."""


class ScorerError(RunError):
    """A scorer of the Challenger's reward failed, or returned something that is no reward."""


class RewardError(RunError):
    """The reward actor died more often than it is started again."""


class RolloutError(RunError):
    """Rollout workers die faster than they can be replaced."""
