"""Engines that sleep while the learner works: the order of the calls, engines that fail asleep, and the same results as split."""

import os
import signal
import time
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayActorError

from actors.learner.group import LearnerGroup
from actors.rollout.fleet import RolloutFleet
from actors.rollout.sleep import put_to_sleep
from actors.rollout.worker import RolloutWorker
from conf.load import load_config
from conf.schema import Config
from pipeline.types import Role
from tests.rounds import run_here

SMALL = (
    *("challenger.steps=3", "challenger.batch=8", "solver.steps=1", "solver.batch=20", "evaluation.sets=[]"),
    *("curriculum.questions=8", "curriculum.delta=0.5", "reward.samples=4", "sampling.max_tokens=64"),
    *("rollout.engines=1", "rollout.kv_cache_mb=64", "rollout.transfer_timeout_s=10"),
)
COLOCATED = ("resources.placement=colocated", "rollout.fleets=per_role", "rollout.transfer=shared")
NO_CACHE, ASLEEP = " asleep: kv_cache", " asleep: kv_cache weights"
SENT = [f"{call}{NO_CACHE}" for call in ("start_weight_update", "update_weights", "finish_weight_update")]
WOKEN = [f"wake_up ['weights']{NO_CACHE}", "wake_up ['kv_cache']"]


def engines_that_log(log: Path, stuck: Path) -> type[RolloutWorker]:
    """Sent by value, since Ray cannot import this file: so they use nothing of it."""

    class Logged(RolloutWorker):
        """Logs calls of vLLM, with what vLLM says is asleep afterwards. Where there is a file `stuck`, one engine never wakes."""

        def __init__(self, config: Config, model_path: str) -> None:
            super().__init__(config, model_path)
            self._log("starts")
            for name in ("sleep", "wake_up", "collective_rpc", "enqueue"):
                setattr(self.llm, name, self._logged(name, getattr(self.llm, name)))

        def _log(self, line: str) -> None:
            with log.open("a") as file:
                file.write(f"{os.getpid()} {line}\n")

        def _logged(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
            def logged(*arguments: Any, **options: Any) -> Any:
                if name == "wake_up" and stuck.exists():
                    stuck.unlink()
                    time.sleep(600)
                result = call(*arguments, **options)
                asleep = " ".join(sorted(self.llm.llm_engine.model_executor.sleeping_tags))
                called = getattr(arguments[0], "__name__", arguments[0]) if name == "collective_rpc" else name
                shown = f"{name} {next(iter(options.values()))}" if name in ("sleep", "wake_up") else called
                self._log(f"{shown}{' asleep: ' * bool(asleep)}{asleep}")
                return result

            return logged

    return Logged


def a_round(config: Config, fleets: dict[Role, RolloutFleet]) -> dict[str, bytes]:
    """The curriculum and the weights of both roles."""
    folder = run_here(config, fleets)
    files = ["curriculum.parquet", "challenger/policy/model.safetensors", "solver/policy/model.safetensors"]
    return {name: (folder / "round-1" / name).read_bytes() for name in files}


def test_a_round_is_the_same_colocated_also_where_engines_die_asleep_or_do_not_wake(
    ray_cluster: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Split with one fleet, against a fleet per role, of which the Solver's keeps its policy in the Challenger's phase."""
    log, stuck = tmp_path / "calls", tmp_path / "stuck"
    monkeypatch.setattr("actors.rollout.worker.RolloutWorker", engines_that_log(log, stuck))
    places = [f"runs_dir={tmp_path}", f"tracking_uri=sqlite:///{tmp_path}/mlflow.db"]
    split = load_config("tiny", [*SMALL, *places, "name=split"])
    colocated = load_config("tiny", [*SMALL, *places, "name=colocated", *COLOCATED])
    challenger = RolloutFleet(colocated, split.model.path)
    expected = a_round(split, {"challenger": challenger, "solver": challenger})
    assert "asleep" not in log.read_text()
    call, made = LearnerGroup._call, []

    def logged(learner: LearnerGroup, method: str, *arguments: Any, **options: Any) -> list[Any]:
        made.append(method)
        with log.open("a") as file:
            file.write(f"learner {method}\n")
        if method == "update" and made.count("update") == 1:
            os.kill(started(log)[1], signal.SIGKILL)  # the Solver's engine
        if method == "export" and made.count("export") == 1:
            stuck.touch()  # for the Challenger's engine, which writes the curriculum next
        return call(learner, method, *arguments, **options)

    monkeypatch.setattr(LearnerGroup, "_call", logged)
    solver = RolloutFleet(colocated, split.model.path, number=1)
    solver.wait_ready()
    assert a_round(colocated, {"challenger": challenger, "solver": solver}) == expected
    for fleet in (challenger, solver):
        fleet.shutdown()
    assert made.count("update") == 4
    assert not stuck.exists()
    calls = [line.split(maxsplit=1) for line, _ in groupby(log.read_text().splitlines())]
    last: dict[str, str] = {}
    for who, what in calls:  # whatever the learner does, all engines have gone to sleep
        if who == "learner":
            assert all(each.endswith(ASLEEP) for each in last.values())
        else:
            last[who] = what
    begun = calls.index(["learner", "begin_phase"])
    first, _, second, _ = (
        [what for who, what in calls[begun:] if who == str(engine)] for engine in started(log)
    )  # the Challenger's, the killed one, which `second` replaces, and the one that replaces `first`
    drawn = [WOKEN[1], "_checksums", "enqueue", f"sleep 2{ASLEEP}"]
    connected = [WOKEN[0], f"init_weight_transfer_engine{NO_CACHE}", *SENT, *drawn]
    assert first == [*connected, *([WOKEN[0], *SENT, *drawn] * 2)]
    # Its policy is sent to it once; it sleeps through an update and wakes with it.
    assert second[:8] == ["starts", "_load", "_checksums", "enqueue", f"sleep 1{ASLEEP}", *WOKEN, "enqueue"]


def started(log: Path) -> list[int]:
    """Process ids of the engines, in the order of starting."""
    return [int(line.split()[0]) for line in log.read_text().splitlines() if line.endswith(" starts")]


def test_engines_that_do_not_sleep_are_killed(ray_cluster: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Actors without vLLM: one sleeps, one fails to, one hangs, and one is dead."""

    class Light:
        def __init__(self, fate: str) -> None:
            self._fate = fate

        def sleep(self, keep_policy: bool) -> None:
            if self._fate == "fails":
                raise AssertionError("Memory usage increased after sleeping.")
            if self._fate == "hangs":
                time.sleep(600)

        def ready(self) -> bool:
            return True

    actor: Any = ray.remote(num_cpus=0)(Light)
    sleeping, failing, hanging, dead = made = [actor.remote(fate) for fate in ("sleeps", "fails", "hangs", "dies")]
    ray.get([each.ready.remote() for each in made])
    ray.kill(dead)
    put_to_sleep(made, keep_policy=False, timeout=3)
    assert ray.get(sleeping.ready.remote())
    for each in (failing, hanging, dead):
        with pytest.raises(RayActorError):
            ray.get(each.ready.remote())
    told = " ".join(capsys.readouterr().out.split())
    assert "an engine that does not sleep is replaced: AssertionError: Memory usage increased after sleeping." in told
    assert "an engine that does not sleep is replaced: no reply in 3 s" in told
    ray.kill(sleeping)
