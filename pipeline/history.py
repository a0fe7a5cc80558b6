"""The history of one GRPO phase: the metrics and p-hats of its steps, its files, and the checkpoint it resumes from."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.algorithm.seeds import derive_seed
from pipeline.store.damage import refuse_damage
from pipeline.store.tables import SampleRow, write_table
from pipeline.types import Role, ScoredGroups, ScoredQuestion

if TYPE_CHECKING:
    from pipeline.batches import Batches
    from pipeline.run import Run


class PhaseHistory:
    """A phase's steps: those recorded in the manifest, and those made since."""

    def __init__(self, run: "Run", round_: int, role: Role) -> None:
        self._run = run
        self._stage = run.state.round(round_).phase(role)
        self.round, self.role = round_, role
        self.folder = run.state.round_folder(round_) / role
        self.metrics = list(self._stage.metrics)
        self.p_hats = list(self._stage.p_hats)
        self.members = list(self._stage.members)
        run.state.remove_unnamed()  # what a lost learner left

    @property
    def finished(self) -> bool:
        return self._stage.finished

    @property
    def steps(self) -> int:
        """Steps made so far."""
        return len(self.metrics)

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint folder to resume from; None at the phase's start."""
        return str(self._run.state.folder / self._stage.checkpoint) if self._stage.checkpoint else None

    @property
    def ahead(self) -> Path | None:
        """File of the batch that was sampled ahead for the next step, if any."""
        return self._run.state.folder / self._stage.ahead if self._stage.ahead else None

    @property
    def samples(self) -> Path:
        """File of the last recorded step's samples."""
        return self.folder / f"samples-{self.steps:04d}.parquet"

    def record(self, scored: ScoredGroups, metrics: dict[str, float]) -> None:
        """Records a finished step: its samples with their rewards and, for questions, their votes, as Parquet."""
        self.metrics.append(metrics)
        self.p_hats.append(scored.p_hats)
        rows = [
            SampleRow(index, sample, reward)
            for index, (group, rewards) in enumerate(zip(scored.groups, scored.rewards, strict=True))
            for sample, reward in zip(group, rewards, strict=True)
        ]
        write_table(self.samples, SampleRow, rows)
        if scored.questions:
            write_table(self.folder / f"questions-{self.steps:04d}.parquet", ScoredQuestion, scored.questions)

    def save(self, batches: "Batches") -> None:
        """Checkpoints the learner and records the checkpoint in the manifest; the previous one is kept, with its manifest."""
        checkpoint, ahead = self.folder / f"checkpoint-{self.steps:04d}", self.folder / f"ahead-{self.steps + 1:04d}.parquet"
        drawn = batches.save(self.steps + 1, ahead)
        state = self._run.state
        with self._run.clock.part("checkpoint"):
            self._run.learner.save(str(checkpoint))
            self._stage.checkpoint = state.relative(checkpoint)
            self._stage.ahead = state.relative(ahead) if drawn else None
            self._commit()

    def end_member(self) -> None:
        """Exports the policy as one of those whose mean ends the phase; the next checkpoint records it."""
        member = self.folder / f"member-{self.steps:04d}"
        with self._run.clock.part("checkpoint"):
            self._run.learner.export(str(member), self._rounding(member))
        self.members.append(self._run.state.relative(member))

    def finish(self) -> None:
        """Exports the policy, which replaces checkpoint and members, and records it in the manifest."""
        policy = self.folder / "policy"
        # Not in round 1, which starts from the base model or is the first of a shared one: averaging with that would undo most of
        # what the phase has learned.
        averaged = self.role == "solver" and self.round > 1
        with self._run.clock.part("checkpoint"):
            members = [str(self._run.state.folder / member) for member in self.members]
            for member in members:
                refuse_damage(Path(member))
            share = self._run.config.solver.average if averaged else 0.0
            self._run.learner.export(str(policy), self._rounding(policy), share, members)
        self._stage.policy = self._run.state.relative(policy)
        self._stage.checkpoint = self._stage.ahead = None
        self.members = []
        self._stage.seconds = self._run.take_usage().seconds
        self._commit()

    def _rounding(self, folder: Path) -> int:
        """The seed of the rounding of the policy that is written to `folder`."""
        return derive_seed(self._run.config.seed, self.round, self.role, folder.name)

    def _commit(self) -> None:
        self._stage.metrics, self._stage.p_hats = list(self.metrics), list(self.p_hats)
        self._stage.members = list(self.members)
        self._run.state.save()
