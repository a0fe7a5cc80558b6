"""A run and its parts: what every phase needs, opened in one place and closed in one place."""

import hashlib
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import ray
import torch

from actors.cluster import ray_cluster
from actors.fleet import RolloutFleet
from actors.learner_group import LearnerGroup
from actors.reward import RAY_OPTIONS, RewardActor
from actors.weights import Policy, in_buckets, publish, read_checkpoint
from conf.load import ConfigError, resolve
from conf.schema import Config
from pipeline.benchmarks import read_benchmark
from pipeline.codec import PromptCodec
from pipeline.display import STARTED, say
from pipeline.oracle import load_oracle
from pipeline.prompts import Prompts, load_prompts
from pipeline.rewards import Scorer, find_scorer
from pipeline.state import RunState
from pipeline.tracking import Tracker
from pipeline.types import Role, policy_version

T = TypeVar("T")


class Clock:
    """Wall-clock seconds by part of the work. Parts may nest: the inner one's time is not the outer one's.

    What belongs to no part is "waiting": the driver's own work, and what it waits for without saying so.
    """

    def __init__(self, **spent: float) -> None:
        self._seconds: dict[str, float] = defaultdict(float, spent)
        self._parts = ["waiting"]
        self._mark = time.monotonic()

    def _charge(self) -> None:
        now = time.monotonic()
        self._seconds[self._parts[-1]] += now - self._mark
        self._mark = now

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._charge()
        self._parts.append(name)
        try:
            yield
        finally:
            self._charge()
            self._parts.pop()

    def during(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """The items; the time in which they are waited for goes to the part `name`, what is done with them does not."""
        iterator = iter(items)
        while True:
            with self.part(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def take(self) -> dict[str, float]:
        """The seconds since the last call, by part: together all the time that went by."""
        self._charge()
        taken = dict(self._seconds)
        self._seconds.clear()
        return taken


@dataclass
class Run:
    """Settings, state and actors of a run.

    `fleets` holds the rollout workers of each role, which may be one and the same; `reward` is the handle of a `RewardActor`.
    """

    config: Config
    state: RunState
    tracker: Tracker
    codec: PromptCodec
    fleets: dict[Role, RolloutFleet]
    learner: LearnerGroup
    reward: Any
    base_path: str
    clock: Clock

    def policy_path(self, role: Role, round_: int) -> str:
        """HF-format folder of a role's weights at the end of a round; round 0 is the base model for both roles."""
        if round_ == 0:
            return self.base_path
        return str(self.state.folder / self.state.stage(round_, role)["policy"])

    def take_counts(self) -> dict[str, float]:
        """What all fleets counted since the last call; see `RolloutFleet.take_counts`."""
        counts: Counter[str] = Counter()
        for fleet in set(self.fleets.values()):
            counts.update(fleet.take_counts())
        return dict(counts)

    def finished_policy(self, role: Role, round_: int) -> Policy:
        """A role's weights at the end of a round, in memory, for the rollout workers."""
        with self.clock.part("transfer"):
            tensors = read_checkpoint(self.policy_path(role, round_), getattr(torch, self.config.model.dtype))
            steps = getattr(self.config, role).steps if round_ else 0
            return Policy(policy_version(role, round_, steps), publish(in_buckets(tensors)))


def find_model(path: str) -> str:
    """A local folder as it is, or the local snapshot of a hub id, downloaded where needed.

    Raises:
        ConfigError: there is neither.
    """
    folder = resolve(path)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(f"model.path={path}: {folder} has no config.json; valid: a model folder in HF format, or a hub id.")
        return str(folder.absolute())
    if path.startswith((".", "/", "~")) or path.count("/") != 1:
        raise ConfigError(
            f"model.path={path}: no such folder; valid: a model folder in HF format, or a hub id such as Qwen/Qwen3-4B-Base."
        )
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(path, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"])
    except Exception as error:  # the hub client raises many unrelated types; for the user all of them mean one thing
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"model.path={path}: not a local folder, and it could not be had from the model hub ({reason})."
        ) from error


@dataclass(frozen=True)
class Inputs:
    """What a run reads from outside, checked before anything is started."""

    base_path: str
    prompts: Prompts
    scorers: list[Scorer]

    def fingerprints(self) -> dict[str, str]:
        """By setting, a hash of what results hang on; of large weight files their names, sizes and both ends."""
        return {"model.path": fingerprint(Path(self.base_path)), "prompts": hashed(repr(self.prompts).encode())}


END_BYTES = 1 << 20


def fingerprint(folder: Path) -> str:
    """A hash of a model folder: its weight files' names, sizes and ends, its configuration and its tokenizer."""
    parts = []
    for path in sorted(folder.iterdir()):
        if path.suffix in (".safetensors", ".json", ".txt", ".model", ".jinja"):
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                ends = []
                for start in (0, max(0, size - END_BYTES)):
                    file.seek(start)
                    ends.append(file.read(END_BYTES))
            parts.append(f"{path.name} {size} {hashed(b''.join(ends))}")
    return hashed("\n".join(parts).encode())


def hashed(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def check_inputs(config: Config) -> Inputs:
    """Finds the base model, the prompts, the scorers, the benchmarks and the oracle.

    Raises:
        ConfigError: one of them is missing or not what it should be.
    """
    for name, benchmark in config.evaluation.benchmarks.items():
        read_benchmark(name, benchmark.path)
    load_oracle(config.evaluation.oracle)
    try:
        prompts = load_prompts(resolve(config.prompts))
    except ValueError as error:
        raise ConfigError(f"prompts={config.prompts}: {error}") from error
    try:
        scorers = [find_scorer(name) for name in config.reward.scorers]
    except ValueError as error:
        raise ConfigError(f"reward.scorers: {error}.") from error
    return Inputs(find_model(config.model.path), prompts, scorers)


def workers(config: Config) -> int:
    """Engines of all fleets."""
    return config.rollout.engines * (1 if config.rollout.fleets == "shared" else 2)


def start_fleets(config: Config, model_path: str) -> dict[Role, RolloutFleet]:
    """A fleet for both roles, or one each."""
    fleet = RolloutFleet(config, model_path)
    shared = config.rollout.fleets == "shared"
    return {"challenger": fleet, "solver": fleet if shared else RolloutFleet(config, model_path)}


@contextmanager
def open_run(config: Config, inputs: Inputs, state: RunState) -> Iterator[Run]:
    """Starts tracking, Ray and the actors, side by side; all of it is closed again at the end."""
    from transformers import AutoTokenizer

    clock = Clock(**{"start-up": time.monotonic() - STARTED})
    with ExitStack() as stack, clock.part("start-up"):
        say(f"run {config.name}: starting Ray, {workers(config)} rollout worker(s), the reward actor and the tracker")
        codec = PromptCodec(config, inputs.prompts, AutoTokenizer.from_pretrained(inputs.base_path))
        stack.enter_context(ray_cluster(config))
        fleets = start_fleets(config, inputs.base_path)
        for fleet in fleets.values():
            stack.callback(fleet.shutdown)
        reward = ray.remote(RewardActor).options(num_cpus=1, **RAY_OPTIONS).remote(config.reward, inputs.scorers)
        learner = LearnerGroup(config)
        stack.callback(learner.shutdown)
        try:
            tracker = stack.enter_context(Tracker(config, parent_id=state.data["tracking_id"]))
        except ValueError as error:
            raise ConfigError(str(error)) from error
        state.track(tracker.parent_id)
        tracker.log_config(config)
        for fleet in fleets.values():
            fleet.wait_ready()
        run = Run(config, state, tracker, codec, fleets, learner, reward, inputs.base_path, clock)
        clock_stopped = stack.pop_all()
    with clock_stopped:
        yield run
