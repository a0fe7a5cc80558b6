"""The loop's own logic as functions of values: batches, groups, funnel, metrics, accuracies, and a phase's history on disk."""

import math
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.cluster import ROOT
from conf.schema import Config, CurriculumConfig
from pipeline.algorithm.metrics import step_metrics
from pipeline.algorithm.selection import keeps
from pipeline.challenger import challenger_metrics
from pipeline.curriculum import funnel
from pipeline.errors import DamagedError
from pipeline.history import PhaseHistory
from pipeline.measure import ScoreRow, accuracy_by_band
from pipeline.observe.clock import Clock
from pipeline.solver import batch_places
from pipeline.store.checksums import write_checksums
from pipeline.store.state import RunState
from pipeline.store.tables import CurriculumRow, SampleRow, kept_questions, read_table, write_table
from pipeline.types import AnsweredQuestion, Sample, ScoredGroups, ScoredQuestion, Vote, in_groups


@pytest.mark.parametrize("module", ["solver", "challenger", "curriculum", "evaluate", "answers", "batches", "history"])
def test_the_logic_of_the_loop_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, pipeline.{module}; print(sorted({{'ray', 'torch', 'vllm', 'mlflow', 'matplotlib'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "[]\n"


def test_each_question_is_trained_on_once_before_any_is_repeated() -> None:
    steps = [batch_places(step, 4, 6, 0, 1, "solver") for step in range(1, 7)]
    drawn = [place for step in steps for place in step]
    for start in range(0, 24, 6):  # four passes over six questions, in batches that do not divide them
        assert sorted(drawn[start : start + 6]) == list(range(6))
    assert len({tuple(drawn[start : start + 6]) for start in range(0, 24, 6)}) > 1  # each in an order of its own
    assert steps[2] == batch_places(3, 4, 6, 0, 1, "solver")  # whatever was drawn before
    assert steps != [batch_places(step, 4, 6, 1, 1, "solver") for step in range(1, 7)]


def test_a_batch_larger_than_the_curriculum_takes_more_than_one_pass() -> None:
    assert sorted(Counter(batch_places(1, 7, 3, 0)).values()) == [2, 2, 3]
    assert batch_places(2, 5, 1, 0) == [0] * 5


@pytest.mark.parametrize(("values", "size", "groups"), [([], 3, []), ([1, 2], 2, [[1, 2]]), ([1, 2, 3, 4], 2, [[1, 2], [3, 4]])])
def test_groups(values: list[int], size: int, groups: list[list[int]]) -> None:
    assert in_groups(values, size) == groups


def item(count: int, total: int = 10, *, question: str | None = "q", invalid: float = 0.0) -> AnsweredQuestion:
    return AnsweredQuestion(question, (), Vote("7" if count else None, count, total), invalid)


@pytest.mark.parametrize(
    ("answered", "delta", "kept"),
    [
        (item(5), 0.0, True),
        (item(3), 0.2, True),
        (item(7), 0.2, True),
        (item(2), 0.25, False),
        (item(5, invalid=0.5), 0.25, True),
        (item(5, invalid=0.6), 0.25, False),
        (item(0), 0.5, False),  # no answer could win
        (AnsweredQuestion(None), 0.5, False),
    ],
)
def test_the_filter_keeps_what_the_solver_is_unsure_of(answered: AnsweredQuestion, delta: float, kept: bool) -> None:
    assert keeps(answered, CurriculumConfig(delta=delta)) == kept


def test_the_funnel_narrows_and_kept_questions_come_in_order(tmp_path: Path) -> None:
    items = [AnsweredQuestion(None), item(0), item(5, question="a"), item(9), item(4, question="b")]
    rows = [CurriculumRow(each, keeps(each, CurriculumConfig(delta=0.25))) for each in items]
    assert funnel(rows) == {"written": 5, "well_formed": 4, "answered": 3, "kept": 2}
    assert funnel([]) == {"written": 0, "well_formed": 0, "answered": 0, "kept": 0}
    write_table(tmp_path / "curriculum.parquet", CurriculumRow, rows)
    assert [each.question for each in kept_questions(tmp_path)] == ["a", "b"]


def sample(tokens: int, finish_reason: str = "stop") -> Sample:
    return Sample((1, 2), tuple(range(tokens)), (-0.5,) * tokens, "text", finish_reason, "v", 0)


def test_metrics_of_a_step() -> None:
    scored = ScoredGroups([[sample(3), sample(5, "length")]], [[0.0, 1.0]], {"well_formed": 0.5}, [0.25, 0.75])
    rollout = {"tokens": 100.0, "sampling_seconds": 4.0, "prompt_tokens": 50.0, "cached_tokens": 10.0}
    metrics = step_metrics(scored, {"kl": 0.1, "seconds": 9.0}, {"sampling": 2.0}, rollout, {"killed": 1.0})
    assert metrics == {
        "reward_mean": 0.5, "reward_std": 0.5, "p_hat_mean": 0.5, "response_length": 4.0, "truncated": 0.5,
        "sampled_tokens": 100.0, "rollout_tokens_per_s": 25.0, "prefix_cache_hit_rate": 0.2, "engines_replaced": 0.0,
        "well_formed": 0.5, "killed": 1.0, "kl": 0.1, "seconds_sampling": 2.0,
    }  # fmt: skip


def test_what_was_not_measured_is_no_metric() -> None:
    """A batch in which nothing is well-formed has no p-hat, and an update without samples no loss."""
    scored = ScoredGroups([[sample(0)], [sample(0)]], [[0.0], [0.0]], {}, [])
    metrics = step_metrics(scored, {"loss": math.nan, "tokens": 0.0}, {}, {}, {})
    assert "p_hat_mean" not in metrics
    assert "loss" not in metrics
    assert "rollout_tokens_per_s" not in metrics
    assert (metrics["reward_mean"], metrics["reward_std"], metrics["response_length"], metrics["tokens"]) == (0, 0, 0, 0)
    empty = step_metrics(ScoredGroups([], [], {}, []), {}, {}, {}, {})
    assert empty == {"sampled_tokens": 0.0, "engines_replaced": 0.0}


def test_metrics_of_a_challengers_batch() -> None:
    rows = [(item(5), 0), (item(5), 0), (item(5), 1), (AnsweredQuestion(None), -1)]
    scored = [ScoredQuestion(each, cluster, 0.5, {"triangular": 1.0, "mine": -0.5}, "v") for each, cluster in rows]
    assert challenger_metrics(scored) == {
        "well_formed": 0.75, "distinct_clusters": 2, "repetition_share": pytest.approx((2 + 2 + 1) / 4 / 3),
        "reward_part_triangular": 1.0, "reward_part_mine": -0.5,
    }  # fmt: skip
    malformed = challenger_metrics([ScoredQuestion(AnsweredQuestion(None), -1, 0.0, {}, "v")] * 2)
    assert malformed == {"well_formed": 0.0, "distinct_clusters": 0, "repetition_share": 0.0}


def test_accuracies_of_bands_and_of_what_was_measured() -> None:
    def row(band: str | None, sampled: float | None, greedy: float) -> ScoreRow:
        return ScoreRow(band, sampled, greedy, None, 0, 0, False)

    rows = [row("easy", 0.5, 1.0), row(None, 0.0, 0.0), row("transfer", 1.0, 1.0)]
    assert accuracy_by_band("set", rows) == {
        "set": {"sampled": 0.25, "greedy": 0.5},
        "set_easy": {"sampled": 0.5, "greedy": 1.0},
        "set_transfer": {"sampled": 1.0, "greedy": 1.0},
    }
    assert accuracy_by_band("set", [row(None, None, 1.0)]) == {"set": {"greedy": 1.0}}


class Learner:
    """Stands for the learner where a history is saved: its files are all that matters."""

    def save(self, path: str) -> None:
        Path(path).mkdir()

    def __init__(self) -> None:
        self.members: list[str] = []

    def export(self, path: str, seed: int, start: float = 0.0, members: Sequence[str] = ()) -> None:
        assert start == 0  # of a phase that is not averaged
        Path(path).mkdir(parents=True)
        (Path(path) / "model.safetensors").touch()
        write_checksums(Path(path))
        self.members = [Path(member).name for member in members]


class NothingAhead:
    def save(self, step: int, path: Path) -> bool:
        return False


def run_of(state: RunState) -> Any:
    usage = SimpleNamespace(seconds={"a": 1.0})
    return SimpleNamespace(config=Config(), state=state, clock=Clock(), learner=Learner(), take_usage=lambda: usage)


def test_a_phases_history_survives_an_interruption(tmp_path: Path) -> None:
    config = Config(runs_dir=str(tmp_path), name="a")
    scored = ScoredGroups([[sample(1), sample(2)]], [[0.0, 1.0]], {}, [0.5])
    with RunState(config) as state:
        history = PhaseHistory(run_of(state), 1, "challenger")
        history.record(scored, {"reward_mean": 0.5})
        history.save(NothingAhead())  # type: ignore[arg-type]
        history.record(scored, {"reward_mean": 0.7})  # lost: no checkpoint follows
    folder = tmp_path / "a" / "round-1" / "challenger"
    (folder / "checkpoint-0002.partial").mkdir()
    (folder / "ahead-0003.parquet").touch()
    with RunState(config) as state:
        history = PhaseHistory(run_of(state), 1, "challenger")
        assert (history.steps, history.metrics, history.p_hats) == (1, [{"reward_mean": 0.5}], [[0.5]])
        assert history.checkpoint == str(folder / "checkpoint-0001")
        assert {path.name for path in folder.iterdir()} == {"checkpoint-0001", "samples-0001.parquet", "samples-0002.parquet"}
        history.record(scored, {"reward_mean": 0.6})
        history.finish()
        assert state.round(1).challenger.finished
        state.save()  # the previous manifest names the checkpoint no more
        assert {path.name for path in folder.iterdir()} == {"policy", "samples-0001.parquet", "samples-0002.parquet"}
    with RunState(config) as state:
        stage = state.round(1).challenger
        assert stage.policy == "round-1/challenger/policy"
        assert stage.checkpoint is None
        assert stage.seconds == {"a": 1.0}
        assert stage.metrics == [{"reward_mean": 0.5}, {"reward_mean": 0.6}]
    assert read_table(folder / "samples-0002.parquet", SampleRow) == [
        SampleRow(0, sample(1), 0.0), SampleRow(0, sample(2), 1.0),
    ]  # fmt: skip


def test_the_members_of_a_phase_are_kept_until_their_mean_ends_it(tmp_path: Path) -> None:
    config = Config(runs_dir=str(tmp_path), name="a")
    scored = ScoredGroups([[sample(1), sample(2)]], [[0.0, 1.0]], {}, [0.5])
    folder = tmp_path / "a" / "round-1" / "challenger"
    with RunState(config) as state:
        history = PhaseHistory(run_of(state), 1, "challenger")
        history.record(scored, {"reward_mean": 0.5})
        history.end_member()  # nothing names it when the run is interrupted
    with RunState(config) as state:
        history = PhaseHistory(run_of(state), 1, "challenger")
        assert not list(folder.glob("member-*"))
        for step in (1, 2):
            history.record(scored, {"reward_mean": 0.5})
            history.end_member()
            history.save(NothingAhead())  # type: ignore[arg-type]
            assert len(history.members) == step
    with RunState(config) as state:
        run = run_of(state)
        history = PhaseHistory(run, 1, "challenger")
        history.record(scored, {"reward_mean": 0.5})
        history.finish()
        assert run.learner.members == ["member-0001", "member-0002"]
        state.save()
        assert not list(folder.glob("member-*"))


def test_a_damaged_member_is_told_and_the_phase_not_ended(tmp_path: Path) -> None:
    with RunState(Config(runs_dir=str(tmp_path), name="a")) as state:
        history = PhaseHistory(run_of(state), 1, "challenger")
        history.end_member()
        (tmp_path / "a" / "round-1" / "challenger" / "member-0000" / "model.safetensors").write_text("damaged")
        with pytest.raises(DamagedError, match="member-0000"):
            history.finish()
        assert not state.round(1).challenger.finished
