"""One GRPO phase: sample, score, update, sync, step after step. Both roles go through it; they differ in their task alone."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pipeline.algorithm.grpo import training_batch
from pipeline.algorithm.seeds import seeded_requests
from pipeline.batches import Batches, sample_row
from pipeline.errors import MismatchError
from pipeline.observe.plots import p_hat_histogram, training_curves
from pipeline.observe.terminal import PhaseProgress, say
from pipeline.run import Run
from pipeline.store.manifest import QUESTIONS, SAMPLES, remove_tree, write_table
from pipeline.types import Policy, Request, Role, Sample, policy_version


@dataclass(frozen=True)
class Scores:
    """What a task says of P groups of G samples: `rewards` [P][G], the task's own metrics, and p_hat of each question."""

    groups: list[list[Sample]]
    rewards: list[list[float]]
    metrics: dict[str, float]
    p_hats: list[float]
    questions: list[dict[str, Any]] = field(default_factory=list)  # rows of state.QUESTIONS, where the samples are questions


class Task(Protocol):
    """What a role's responses answer to, and what they are worth."""

    role: Role

    def prompts(self, step: int) -> list[tuple[int, ...]]:
        """P prompts as token ids; G responses are sampled for each."""

    def score(self, step: int, arriving: Iterator[tuple[int, list[Sample]]]) -> Scores:
        """Takes (index of the prompt, its samples) as they are finished, so that scoring may begin before sampling has ended."""


# Largest mean |difference| of log-probabilities between vLLM and the learner on the same tokens, by precision. Right weights
# stay well below (1e-6 and 1e-2 on the models tried); stale ones are far above.
MISMATCH_LIMIT = {"float32": 1e-4, "bfloat16": 0.1}


def grpo_phase(run: Run, round_: int, task: Task) -> None:
    """Trains a role for its number of steps, from its last weights or, after an interruption, from the last checkpoint."""
    config, stage = run.config, run.state.stage(round_, task.role)
    settings = getattr(config, task.role)
    folder = run.state.round_folder(round_) / task.role
    remove_leftovers(folder, {stage.get("checkpoint"), stage.get("ahead")})
    if "policy" in stage:
        return
    history: list[dict[str, float]] = list(stage.get("metrics", []))
    p_hats: dict[int, list[float]] = {step: values for step, values in enumerate(stage.get("p_hats", []), start=1)}
    say(f"round {round_} {task.role}: starting the learner")
    checkpoint = stage.get("checkpoint")
    with run.clock.part("start-up"):
        run.learner.begin_phase(
            run.policy_path(*run.start_of(task.role, round_)),
            settings.lr,
            resume_from=str(run.state.folder / checkpoint) if checkpoint else None,
        )
    with (
        run.tracker.phase(round_, task.role) as tracked,
        PhaseProgress(round=round_, name=task.role, total=settings.steps, done=len(history)) as progress,
        Batches(run, task.role, lambda step: requests(run, round_, step, task)) as batches,
    ):
        if ahead := stage.get("ahead"):
            batches.restore(len(history) + 1, run.state.folder / ahead)
        for step in range(len(history) + 1, settings.steps + 1):
            policy = current_policy(run, policy_version(task.role, round_, step - 1))
            scores = task.score(step, batches.arriving(step, policy))
            if config.rollout.ahead and step < settings.steps:
                batches.sample_ahead(step + 1, policy)
            update = learn(run, scores, policy)

            metrics = step_metrics(scores, update, run.clock.take(), run.take_counts())
            history.append(metrics)
            p_hats[step] = scores.p_hats
            write_step(folder, step, scores)
            if step % config.learner.checkpoint_every == 0 or step == settings.steps:
                save(run, round_, task.role, folder, history, p_hats, batches)
            tracked.log_step(metrics, step)
            tracked.log_histogram(scores.p_hats, step)
            progress.update(
                step,
                reward=metrics["reward_mean"],
                p_hat=metrics.get("p_hat_mean"),
                tokens_per_s=metrics.get("rollout_tokens_per_s"),
            )
        tracked.log_figure(training_curves(history), "training")
        tracked.log_figure(p_hat_histogram(p_hats), "p_hat")
    with run.clock.part("learning"):
        run.learner.export(str(folder / "policy"))
    run.state.record(round_, task.role, policy=relative(run, folder / "policy"), checkpoint=None)
    remove_leftovers(folder, set())


def current_policy(run: Run, version: str) -> Policy:
    """The learner's weights, for the rollout workers."""
    with run.clock.part("transfer"):
        return Policy(version, run.learner.weights())


def requests(run: Run, round_: int, step: int, task: Task) -> list[Request]:
    """G responses to each of the step's prompts."""
    group = getattr(run.config, task.role).group
    return seeded_requests(run.config.seed, task.prompts(step), group, round_, task.role, step)


def learn(run: Run, scores: Scores, policy: Policy) -> dict[str, float]:
    """One GRPO update of `policy`; returns the learner's metrics.

    Raises:
        MismatchError: samples of that policy have other log-probabilities in the learner than where they were drawn.
    """
    batch = training_batch(scores.groups, scores.rewards, run.config.grpo)
    with run.clock.part("learning"):
        metrics = run.learner.update(batch)
    # Below top-p 1 the rollout's distribution is renormalised over at least that mass, which the learner's is not.
    limit = MISMATCH_LIMIT[run.config.model.dtype] - math.log(run.config.sampling.top_p)
    fresh = all(sample.version == policy.version for sample in batch.samples)  # those sampled ahead differ rightly
    if batch.samples and fresh and metrics["mismatch_mean"] > limit:
        raise MismatchError(
            f"log-probabilities of the rollout workers and the learner differ by {metrics['mismatch_mean']:.2g} on average, "
            f"more than {limit:g}: the workers did not take on the learner's weights"
        )
    return metrics | {"zero_variance_groups": batch.dropped_groups}


def step_metrics(
    scores: Scores, update: dict[str, float], seconds: dict[str, float], counts: dict[str, float]
) -> dict[str, float]:
    """What is known of a step, under names both roles share; what was not measured is left out.

    Args:
        counts: of the fleets, see `RolloutFleet.take_counts`.
    """
    samples = [sample for group in scores.groups for sample in group]
    rewards = [reward for group in scores.rewards for reward in group]
    lengths = [len(sample.token_ids) for sample in samples]
    mean = sum(rewards) / len(rewards)
    metrics = {
        "reward_mean": mean,
        "reward_std": math.sqrt(sum((reward - mean) ** 2 for reward in rewards) / len(rewards)),
        "p_hat_mean": sum(scores.p_hats) / len(scores.p_hats) if scores.p_hats else math.nan,
        "response_length": sum(lengths) / len(lengths),
        "truncated": sum(sample.truncated for sample in samples) / len(samples),
        "rollout_tokens_per_s": counts.get("tokens", 0.0) / counts.get("sampling_seconds", math.nan),
        "prefix_cache_hit_rate": counts.get("cached_tokens", 0.0) / counts.get("prompt_tokens", math.nan),
        "swap_seconds": counts.get("swap_seconds", 0.0) / counts.get("swaps", math.nan),
        "engines_replaced": counts.get("replaced", 0.0),
        **scores.metrics,
        **{name: value for name, value in update.items() if name != "seconds"},
        **{f"seconds_{part}": spent for part, spent in seconds.items()},
    }
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


def write_step(folder: Path, step: int, scores: Scores) -> None:
    """The step's samples with their rewards and, where they are questions, the votes on them, as Parquet."""
    rows = [
        sample_row(index, sample, reward)
        for index, (group, rewards) in enumerate(zip(scores.groups, scores.rewards, strict=True))
        for sample, reward in zip(group, rewards, strict=True)
    ]
    write_table(folder / f"samples-{step:04d}.parquet", rows, SAMPLES)
    if scores.questions:
        write_table(folder / f"questions-{step:04d}.parquet", scores.questions, QUESTIONS)


def save(
    run: Run,
    round_: int,
    role: Role,
    folder: Path,
    history: list[dict[str, float]],
    p_hats: dict[int, list[float]],
    batches: Batches,
) -> None:
    """Checkpoints the learner and lets the manifest name the checkpoint; the one before it goes."""
    checkpoint, ahead = folder / f"checkpoint-{len(history):04d}", folder / f"ahead-{len(history) + 1:04d}.parquet"
    drawn = batches.save(len(history) + 1, ahead)
    with run.clock.part("checkpoint"):
        run.learner.save(str(checkpoint))
        run.state.record(
            round_,
            role,
            checkpoint=relative(run, checkpoint),
            ahead=relative(run, ahead) if drawn else None,
            metrics=history,
            p_hats=[p_hats[step] for step in sorted(p_hats)],
        )
        remove_leftovers(folder, {relative(run, checkpoint), relative(run, ahead)})


def remove_leftovers(folder: Path, named: set[str | None]) -> None:
    """Removes checkpoints and batches sampled ahead that the manifest no longer names, or, after a kill, never did."""
    for path in [*folder.glob("checkpoint-*"), *folder.glob("ahead-*")]:
        if not any(name and Path(name).name == path.name for name in named):
            remove_tree(path) if path.is_dir() else path.unlink()


def relative(run: Run, path: Path) -> str:
    """A path as the manifest names it, so that a run's folder can be moved."""
    return str(path.relative_to(run.state.folder))
