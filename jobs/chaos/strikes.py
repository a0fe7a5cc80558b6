"""How a fault is inflicted, and undone where something outside the run would undo it."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from jobs.chaos.damage import Damage, inflict
from jobs.chaos.faults import Fault
from jobs.chaos.lives import Life
from jobs.chaos.surroundings import TrackingServer, TwoNodes, filler

# After which a stopped driver is continued, MLflow's server started again, and a full disk has room.
PAUSE_S = 8.0


@dataclass(frozen=True, slots=True)
class Victims:
    pids: list[int]
    damage: Damage | None = None


@dataclass(frozen=True, slots=True)
class Repair:
    """What undoes a fault, `at` that time by the monotonic clock."""

    fault: Fault
    at: float
    make: Callable[[], object]


@dataclass
class Surroundings:
    """What runs beside the rounds: MLflow's server, or None and a store in a file, and for some rounds a cluster of two nodes."""

    settings: list[str]
    tracking_uri: str
    server: TrackingServer | None = None
    nodes: TwoNodes | None = None
    _repairs: list[Repair] = field(default_factory=list)

    def life(self, runs: Path, log: Path, seed: int) -> Life:
        environment, session = (self.nodes.environment, self.nodes.session) if self.nodes else ({}, None)
        return Life(runs, log, seed, [*self.settings, f"tracking_uri={self.tracking_uri}"], environment, session)

    def repair_later(self, fault: Fault, repair: Callable[[], object]) -> None:
        self._repairs.append(Repair(fault, time.monotonic() + PAUSE_S, repair))

    def is_under_repair(self, fault: Fault) -> bool:
        return any(each.fault == fault for each in self._repairs)

    def repair_what_is_due(self, at_once: bool = False) -> None:
        self._make([each for each in self._repairs if at_once or each.at <= time.monotonic()])

    def before_a_start(self) -> None:
        """Makes room on a full disk, as who starts a run again would; MLflow's server may be away meanwhile."""
        self._make([each for each in self._repairs if each.fault.target == "disk"])

    def _make(self, repairs: list[Repair]) -> None:
        self._repairs = [each for each in self._repairs if each not in repairs]
        for each in repairs:
            each.make()


def strike(fault: Fault, life: Life, folder: Path, surroundings: Surroundings) -> Victims | None:
    """Inflicts a fault on a round in `folder`; None where its victim is not there at the moment."""
    number = signal.SIGSTOP if fault.action == "SIGSTOP" else signal.SIGKILL
    match fault.target:
        case "driver":
            life.send(number)
            if number == signal.SIGSTOP:
                surroundings.repair_later(fault, lambda: life.send(signal.SIGCONT))
            return Victims([life.pid])
        case "MLflow server":
            assert surroundings.server is not None
            surroundings.server.signal(number)
            surroundings.repair_later(fault, surroundings.server.restart)
            return Victims([])
        case "disk":
            full = filler(folder.parent)
            surroundings.repair_later(fault, full.unlink)
            return Victims([])
        case "file":
            if fault.cuts:
                life.kill()  # first: a driver that lives may replace the file between the damage and its end
            damage = inflict(folder, fault.action, fault.choice)
            return None if damage is None else Victims([], damage)
        case "raylet of a second node":
            assert surroundings.nodes is not None
            on_the_node = life.pids("rollout worker")
            return sent(surroundings.nodes.raylet(), number, on_the_node) if on_the_node else None
    pids = life.pids(fault.target)
    return sent(chosen := pids[int(fault.choice * len(pids))], number, [chosen]) if pids else None


def sent(pid: int, number: signal.Signals, victims: list[int]) -> Victims | None:
    with suppress(ProcessLookupError):  # it has ended meanwhile
        os.kill(pid, number)
        return Victims(victims)
    return None
