"""One GRPO phase: sample, score, update, record, step by step. Both roles share it and differ only in their task."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from actors.restarts import Restarts
from pipeline import interruption
from pipeline.algorithm.grpo import training_batch
from pipeline.algorithm.metrics import step_metrics
from pipeline.algorithm.seeds import seeded_requests
from pipeline.batches import Batches
from pipeline.early_stop import stop_after_skipped, stop_without_signal
from pipeline.errors import LearnerError, LearnerLostError, MismatchError
from pipeline.history import PhaseHistory
from pipeline.observe.terminal import PhaseProgress, say
from pipeline.store.damage import refuse_damage
from pipeline.types import EncodedPrompt, Policy, Request, Role, Sample, ScoredGroups, policy_version

if TYPE_CHECKING:
    from pipeline.run import Run


class Task(Protocol):
    """A role's prompts and the rewards of its responses."""

    role: Role

    def prompts(self, step: int) -> list[EncodedPrompt]:
        """P prompts; G responses are sampled for each."""

    def score(self, step: int, arriving: Iterator[tuple[int, list[Sample]]], policy: Policy) -> ScoredGroups:
        """Scores (index of the prompt, its samples) as they arrive, so that scoring overlaps sampling. `policy` can draw more."""


# Largest mean |difference| of log-probabilities between vLLM and the learner on the same tokens, by dtype. Correct weights stay
# well below (1e-6 and 1e-2 on the models tried); stale ones are far above.
MISMATCH_LIMIT = {"float32": 1e-4, "bfloat16": 0.1}


def grpo_phase(run: "Run", round_: int, task: Task) -> None:
    """Trains a role for its number of steps, from its latest weights or, after an interruption, from the last checkpoint.

    A learner that is lost is an interruption as well: new ranks resume from the last checkpoint, to the same result.
    """
    restarts = Restarts("the learner", "step", LearnerError)
    while not (history := PhaseHistory(run, round_, task.role)).finished:
        try:
            train(run, round_, task, history)
        except LearnerLostError as failure:
            interruption.leave_if_requested()  # whoever stops the run may have ended the ranks first
            run.learner.shutdown()  # where engines were the first to notice
            run.take_usage()  # of the steps that are taken again
            history = PhaseHistory(run, round_, task.role)
            restarts.after(failure, history.steps)
            if history.checkpoint:
                refuse_damage(Path(history.checkpoint))


def train(run: "Run", round_: int, task: Task, history: PhaseHistory) -> None:
    """The steps of a phase that are missing in its history.

    Raises:
        LearnerLostError: a learner rank died, hung or failed.
        NoSignalError: the role has nothing to learn from; nothing of the last step is in the manifest.
    """
    config, role = run.config, run.config.role(task.role)
    total = role.total_steps
    say(f"round {round_} {task.role}: starting the learner")
    run.free_gpus(task.role)
    with run.clock.part("start-up"):
        start = run.policy_path(*run.phase_start(task.role, round_))
        refuse_damage(Path(start))
        reference = run.base_path if config.grpo.reference == "base" else start
        run.learner.begin_phase(start, role.lr, history.checkpoint, reference)
    with (
        run.tracker.phase(round_, task.role) as tracked,
        run.watched_by(PhaseProgress(f"round {round_} {task.role}", total=total, done=history.steps)) as progress,
        Batches(run, task.role, lambda step: requests(run, round_, step, task)) as batches,
    ):
        if history.ahead:
            batches.restore(history.steps + 1, history.ahead)
        for step in range(history.steps + 1, total + 1):
            _, of_member = role.member(step)
            if of_member == 1 and step > 1:  # the next member: from the same start, with an optimizer of its own
                history.end_member()
                with run.clock.part("start-up"):
                    run.learner.begin_phase(start, role.lr, None, reference)
            policy = Policy(policy_version(task.role, round_, step - 1), run.learner.weights())
            scored = task.score(step, batches.arriving(step, policy), policy)
            if config.rollout.ahead and of_member < role.steps:
                batches.sample_ahead(step + 1, policy)
            run.free_gpus(task.role)
            update = learn(run, scored, policy, role.lr_at(of_member))
            usage = run.take_usage()
            metrics = step_metrics(scored, update, usage.seconds, usage.rollout, usage.sandbox)
            history.record(scored, metrics)
            tracked.log_step(metrics, step)
            tracked.log_histogram(scored.p_hats, step)
            stop_after_skipped(history)
            if config.stop_without_signal:
                stop_without_signal(config, history, scored, run.codec.for_base)
            stopping = interruption.requested()
            if (stopping or step % config.learner.checkpoint_every == 0) and step < total:
                history.save(batches)
            progress.update(
                step,
                reward=metrics["reward_mean"],
                p_hat=metrics.get("p_hat_mean"),
                tokens_per_s=metrics.get("rollout_tokens_per_s"),
            )
            if stopping and step < total:
                interruption.leave_if_requested()
        tracked.log_histograms(dict(enumerate(history.p_hats, start=1)))
    history.finish()


def requests(run: "Run", round_: int, step: int, task: Task) -> list[Request]:
    """Requests for G responses to each of the step's prompts."""
    group = run.config.role(task.role).group
    return seeded_requests(run.config.seed, task.prompts(step), group, round_, task.role, step)


def learn(run: "Run", scored: ScoredGroups, policy: Policy, lr: float) -> dict[str, float]:
    """One GRPO update of `policy` with learning rate `lr`; returns the learner's metrics.

    Raises:
        MismatchError: the samples' log-probabilities differ between the rollout workers and the learner.
    """
    batch = training_batch(scored.groups, scored.rewards, run.config.grpo)
    with run.clock.part("learning"):
        metrics = run.learner.update(batch, lr)
    # Below top-p 1 the rollout distribution is renormalised over at least that mass; the learner's is not.
    limit = MISMATCH_LIMIT[run.config.model.dtype] - math.log(run.config.sampling.top_p)
    fresh = all(sample.version == policy.version for sample in batch.samples)  # samples drawn ahead are expected to differ
    if batch.samples and fresh and metrics["mismatch_mean"] > limit:
        raise MismatchError(
            f"log-probabilities of the rollout workers and the learner differ by {metrics['mismatch_mean']:.2g} on average, "
            f"more than {limit:g}: the workers do not hold the learner's weights"
        )
    return metrics | {"zero_variance_groups": batch.dropped_groups}
