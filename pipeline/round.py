"""R-Zero (arXiv 2508.05004), one round: two policies from one base model make each other better, with no data.

The Challenger learns to write questions at the edge of what the Solver can do; the Solver learns from them, with its own
majority vote as the label. Every call below can be interrupted at any moment and resumes when it is called again.
"""

from pipeline.challenger import ChallengerTask
from pipeline.curriculum import write_curriculum
from pipeline.evaluate import evaluate
from pipeline.interruption import leave_if_requested
from pipeline.phase import grpo_phase
from pipeline.run import Run
from pipeline.solver import SolverTask
from pipeline.store.manifest import StageName
from pipeline.summary import close_round


def run_rounds(run: Run, last: int) -> None:
    """Runs what is missing, up to round `last`."""
    with run.tracker.round(0):
        run_stages(run, 0)  # the evaluation of the base model, the baseline of all comparisons
    for round_ in range(run.state.manifest.closed_rounds() + 1, last + 1):
        run_round(run, round_)


def run_round(run: Run, round_: int) -> None:
    """Challenger t-1 and Solver t-1 become Challenger t and Solver t."""
    with run.tracker.round(round_) as tracked:
        run_stages(run, round_)
        close_round(run, round_, tracked)


def run_stages(run: Run, round_: int) -> None:
    """The one place that moves from stage to stage: each is finished once the manifest says so."""
    while (stage := run.state.manifest.next_stage(round_)) is not None:
        run_stage(run, round_, stage)
        leave_if_requested()


def run_stage(run: Run, round_: int, stage: StageName) -> None:
    match stage:
        case "challenger":  # rewarded for questions on which Solver t-1 is uncertain
            grpo_phase(run, round_, ChallengerTask(run, round_))
        case "curriculum":  # Challenger t writes, Solver t-1 answers and votes, uncertain ones are kept
            write_curriculum(run, round_)
        case "solver":  # rewarded for agreeing with the vote
            grpo_phase(run, round_, SolverTask(run, round_))
        case "evaluation":  # the only stage that is judged by right answers
            evaluate(run, round_)
