"""A phase that has nothing to learn from ends the run, also where an interruption lies between its steps."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conf.schema import Config
from pipeline.algorithm.advice import BASE_PROMPTS
from pipeline.algorithm.signal import advice, missing_signal
from pipeline.early_stop import stop_after_skipped, stop_without_signal
from pipeline.errors import LearnerError, NoSignalError
from pipeline.history import PhaseHistory
from pipeline.observe.clock import Clock
from pipeline.store.state import RunState, may_change
from pipeline.types import Role, Sample, ScoredGroups


def step(even: int, well_formed: float = 0.5) -> dict[str, float]:
    return {"well_formed": well_formed, "zero_variance_groups": float(even)}


@pytest.mark.parametrize(
    ("steps", "missing"),
    [
        ([], None),
        ([step(3)], None),
        ([step(4)], None),
        ([step(4), step(4)], None),
        ([step(4), step(4), step(4)], "difference"),
        ([step(3), step(4), step(4), step(4)], "difference"),
        ([step(4), step(4), step(3), step(4)], None),
        ([step(4), step(3), step(4), step(4)], None),
        ([step(4), step(4), step(4), step(3)], None),  # an earlier call trained on without a signal
        ([step(4, 0.0)], "form"),
        ([step(4, 0.0), step(1)], None),
        ([step(1), step(4, 0.0)], "form"),
        ([step(4), step(4), step(4, 0.0)], "form"),
    ],
)
def test_what_the_last_step_lacks(steps: list[dict[str, float]], missing: str | None) -> None:
    assert missing_signal("solver", steps, groups=4) == missing


def test_a_solver_that_has_learned_all_labels_lacks_nothing() -> None:
    learned = [step(4) | {"reward_mean": 1.0}] * 3
    assert missing_signal("solver", learned, groups=4) is None
    assert missing_signal("solver", [step(4) | {"reward_mean": 0.75}, *learned[1:]], groups=4) == "difference"
    assert missing_signal("challenger", learned, groups=4) == "difference"  # whatever a scorer's largest reward is


@pytest.mark.parametrize(
    ("role", "missing", "metrics", "texts", "settings"),
    [
        ("challenger", "form", {"truncated": 0.1}, ["Sure!"], (f"prompts={BASE_PROMPTS}",)),
        ("challenger", "form", {"truncated": 1.0}, ["on and on"], (f"prompts={BASE_PROMPTS}",)),
        ("challenger", "form", {"truncated": 0.9}, ["<question>A"], ("sampling.max_tokens=192", "model.max_length=352")),
        ("solver", "form", {"truncated": 0.0}, ["It is 4."], (f"prompts={BASE_PROMPTS}",)),
        ("solver", "form", {"truncated": 0.6}, ["\\boxed{4"], ("sampling.max_tokens=192", "model.max_length=352")),
        ("challenger", "difference", {"p_hat_mean": 0.0}, [], (f"prompts={BASE_PROMPTS}",)),
        ("challenger", "difference", {"p_hat_mean": 1.0, "distinct_clusters": 9.0}, [], ("sampling.temperature=1.2",)),
        ("challenger", "difference", {"p_hat_mean": 0.5, "distinct_clusters": 1.0}, [], ("sampling.temperature=1.2",)),
        ("challenger", "difference", {"p_hat_mean": 0.5}, [], ("challenger.group=8", "challenger.batch=256")),
        ("solver", "difference", {"p_hat_mean": 0.5}, [], ("solver.group=10", "solver.batch=320")),
    ],
)
def test_advice_names_settings_that_are_valid(
    role: Role, missing: Any, metrics: dict[str, float], texts: list[str], settings: tuple[str, ...]
) -> None:
    given = advice(Config(), role, missing, metrics, texts)
    assert given.settings == settings
    assert given.words


def test_advice_that_was_followed_is_not_given_again() -> None:
    based = advice(Config(), "challenger", "form", {}, [], for_base=True)
    assert not based.settings
    assert "mine.yaml" in based.words
    hot = Config()
    hot.sampling.temperature = 1.5
    assert not advice(hot, "challenger", "difference", {"p_hat_mean": 1.0}, []).settings


def sample(text: str, finish_reason: str = "stop") -> Sample:
    return Sample((1,), (2,), (-0.5,), text, finish_reason, "v", 0)


class Files:
    """Stands for the learner and for the batches ahead: a history's files are all that matters."""

    def save(self, *path: str | int | Path) -> bool:
        Path(str(path[-1])).mkdir() if len(path) == 1 else None
        return False

    def export(self, path: str, seed: int) -> None:
        Path(path).mkdir()


def opened(state: RunState, role: Role) -> PhaseHistory:
    usage = SimpleNamespace(seconds={})
    run: Any = SimpleNamespace(config=Config(), state=state, clock=Clock(), learner=Files(), take_usage=lambda: usage)
    return PhaseHistory(run, 1, role)


def test_three_steps_in_a_row_are_counted_across_interruptions(tmp_path: Path) -> None:
    config = Config(runs_dir=str(tmp_path), name="a")
    scored = ScoredGroups([[sample("x"), sample("y")]], [[1.0, 1.0]], {}, [0.5])

    def one_step(even: int) -> None:
        """Resumes, makes a step, and is interrupted."""
        with RunState(config) as state:
            history = opened(state, "challenger")
            history.record(scored, step(even))
            stop_without_signal(config, history, scored, for_base=False)
            history.save(Files())  # type: ignore[arg-type]

    for even in (1, 0, 1, 1):
        one_step(even)
    for _ in range(2):  # the same command stops at the same step
        before = json.loads((tmp_path / "a" / "manifest.json").read_text())
        assert len(before["rounds"]["1"]["challenger"]["metrics"]) == 4
        with pytest.raises(NoSignalError, match="round 1 challenger, step 5: in 3 steps in a row") as error:
            one_step(1)
        assert error.value.settings == ("challenger.group=8", "challenger.batch=256")
        assert json.loads((tmp_path / "a" / "manifest.json").read_text()) == before
    one_step(0)  # in another process a signal: as if there had been no stop
    assert may_change("stop_without_signal")  # the run can be resumed with the stop turned off


def test_three_skipped_updates_in_a_row_are_counted_across_interruptions(tmp_path: Path) -> None:
    config = Config(runs_dir=str(tmp_path), name="a")
    scored = ScoredGroups([[sample("x")]], [[1.0]], {}, [0.5])

    def one_step(skipped: float) -> None:
        with RunState(config) as state:
            history = opened(state, "solver")
            history.record(scored, {"loss": float("nan"), "skipped_updates": skipped})
            stop_after_skipped(history)
            history.save(Files())  # type: ignore[arg-type]

    for skipped in (1, 1, 0, 1, 1):
        one_step(skipped)
    with pytest.raises(LearnerError, match=r"round 1 solver, step 6: 3 updates in a row .* non-finite"):
        one_step(1)
    one_step(0)


def test_the_message_shows_responses_that_are_safe_to_print(tmp_path: Path) -> None:
    config = Config(runs_dir=str(tmp_path), name="a")
    texts = ["\x1b[2Jhello\n  there", "", "three", "<b>" + "long " * 1000, "five", "six"]
    scored = ScoredGroups([[sample(text, "length") for text in texts]], [[0.0] * 6], {}, [])
    with RunState(config) as state:
        history = opened(state, "challenger")
        history.record(scored, {"well_formed": 0.0, "truncated": 1.0, "zero_variance_groups": 1.0})
        with pytest.raises(NoSignalError) as error:
            stop_without_signal(config, history, scored, for_base=False)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("round 1 challenger, step 1: none of 6 responses is a well-formed question")
    assert "6 were cut off" in lines[0]
    assert lines[1] == f"Responses of this step ({tmp_path}/a/round-1/challenger/samples-0001.parquet has all):"
    assert lines[2:4] == ["  | hello there", "  | (nothing)"]
    assert lines[4].startswith("  | <b>long long")
    assert lines[5] == "  | five"
    assert all(len(line) <= 310 and line.isprintable() for line in lines[2:6])
