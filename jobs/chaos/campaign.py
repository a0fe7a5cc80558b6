"""A campaign: rounds with several faults each, until every fault of a seed has struck."""

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import pyarrow.parquet as pq

from conf.load import ROOT
from jobs.chaos.faults import Fault, draw
from jobs.chaos.judge import problems, record, records, unsurvived
from jobs.chaos.moments import NAME
from jobs.chaos.records import Record, append, read
from jobs.chaos.strikes import Surroundings
from jobs.chaos.surroundings import TrackingServer, TwoNodes, has_tracking_server, small_disk
from jobs.chaos.trial import LostError, Trial
from pipeline.errors import RunError

A_ROUND = 14  # faults
MOST_IN_VAIN = 3
PROBLEMS = 12  # of the held-out set
SECOND_NODE = "raylet of a second node"
NO_ROOT = "the disk is not filled: that needs a file system of its own, which root can mount"
NO_SERVER = "MLflow's server suffers nothing: it needs the full mlflow package (make dashboard installs it)"


class Campaign:
    """Faults of `seed`, whose outcomes are appended to `output`; what the rounds leave lies in `folder` meanwhile."""

    def __init__(self, seed: int, output: Path, folder: Path, seconds: float, say: Callable[[str], None]) -> None:
        """No fault strikes after `seconds`."""
        self._seed, self._output, self._folder, self._say = seed, output, folder, say
        self._until = time.monotonic() + seconds

    def run(self, numbers: Sequence[int], again: bool = False) -> list[Record]:
        """Lets those faults strike that have no record yet, or all of them `again`; returns all records of the seed.

        Raises:
            RunError: the undisturbed round fails.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            own_disk = stack.enter_context(small_disk(self._folder / "disk"))
            server = TrackingServer(self._folder / "mlflow") if has_tracking_server() else None
            if server is not None:
                stack.callback(server.stop)
            left = self._possible([draw(self._seed, number) for number in numbers], own_disk, server is not None)
            left = left if again else self._without_record(left)
            tracking_uri = server.uri if server is not None else f"sqlite:///{self._folder}/mlflow.db"
            surroundings = Surroundings([f"evaluation.sets=[{self._small_set()}]"], tracking_uri, server)
            seconds = self._undisturbed(surroundings)
            for on_two_nodes in (False, True):
                faults = [fault for fault in left if (fault.target == SECOND_NODE) == on_two_nodes]
                in_vain = 0  # rounds in a row, e.g. because Ray did not start in its time on a machine with much else to do
                while faults and time.monotonic() < self._until:
                    with ExitStack() as round_:
                        if on_two_nodes:
                            surroundings.nodes = TwoNodes()
                            round_.callback(surroundings.nodes.stop)
                        made = {each.number for each in self._round(faults[:A_ROUND], surroundings, seconds)}
                    in_vain = 0 if made else in_vain + 1
                    if in_vain == MOST_IN_VAIN:
                        raise RunError(f"no fault of {[fault.number for fault in faults[:A_ROUND]]} could strike")
                    faults = [fault for fault in faults if fault.number not in made]
        return read(self._output, self._seed)

    def _possible(self, faults: list[Fault], own_disk: bool, with_server: bool) -> list[Fault]:
        """Those whose target is there; a line for each kind that is not."""
        for there, target, line in ((own_disk, "disk", NO_ROOT), (with_server, "MLflow server", NO_SERVER)):
            if not there and any(fault.target == target for fault in faults):
                self._say(line)
                faults = [fault for fault in faults if fault.target != target]
        return faults

    def _without_record(self, faults: list[Fault]) -> list[Fault]:
        done = {record.number for record in read(self._output, self._seed)}
        return [fault for fault in faults if fault.number not in done]

    def _small_set(self) -> Path:
        path = self._folder / "heldout.parquet"
        pq.write_table(pq.read_table(ROOT / "assets" / "heldout.parquet").slice(0, PROBLEMS), path)
        return path

    def _undisturbed(self, surroundings: Surroundings) -> float:
        """Seconds of the round without a fault, which is run once for a seed."""
        kept = self._folder / f"undisturbed-{self._seed}"
        took = kept / "seconds"
        if not took.exists():
            self._say(f"the undisturbed round of seed {self._seed}")
            shutil.rmtree(kept, ignore_errors=True)
            trial = self._trial(surroundings)
            try:
                seconds = trial.run([])
            except LostError as error:
                raise RunError(f"the undisturbed round fails: {error}") from error
            shutil.copytree(trial.runs, kept)
            took.write_text(str(seconds))
        return float(took.read_text())

    def _trial(self, surroundings: Surroundings) -> Trial:
        runs = self._folder / "disk" / "runs"
        shutil.rmtree(runs, ignore_errors=True)
        runs.mkdir(parents=True)
        logs = self._folder / "lives" / time.strftime("%H%M%S")
        return Trial(runs, logs, self._seed, surroundings, self._say)

    def _round(self, faults: Sequence[Fault], surroundings: Surroundings, undisturbed_seconds: float) -> list[Record]:
        """Records of the faults that struck in one round.

        Where it lost something, and several could have been the cause, they strike again one by one until the cause is found; the
        others have no record then.
        """
        trial, undisturbed = self._trial(surroundings), self._folder / f"undisturbed-{self._seed}" / NAME
        try:
            lost_s = max(0.0, trial.run(faults, self._until) - undisturbed_seconds)
        except LostError as error:
            lost_s, found, culprit, lines = 0.0, [str(error)], error.culprit, {}
        else:
            found, culprit = list(problems(trial, undisturbed)), None
            lines = unsurvived(trial, undisturbed) if any(each.damage for each in trial.struck) else {}
        if not found:
            return self._kept(records(trial, self._seed, lost_s, lines))
        self._say(f"{'; '.join(found)} (what the round left is in {trial.logs / 'left'})")
        shutil.copytree(trial.runs, trial.logs / "left", dirs_exist_ok=True)
        if len(trial.struck) == 1:
            culprit = trial.struck[0]
        if culprit is not None:
            return self._kept([record(trial, culprit, self._seed, lost_s, lines, found)])
        made: list[Record] = []
        for each in trial.struck:
            made += self._round([each.fault], surroundings, undisturbed_seconds)
            if time.monotonic() > self._until or any(one.outcome == "lost" for one in made):
                return made
        together = f"only together with the others of {[each.fault.number for each in trial.struck]}: {'; '.join(found)}"
        return self._kept([record(trial, each, self._seed, lost_s, lines, [together]) for each in trial.struck])

    def _kept(self, made: list[Record]) -> list[Record]:
        """Appends records to the file, and says how far the campaign is and what was lost."""
        append(self._output, made)
        so_far = read(self._output, self._seed)
        lost = sum(record.outcome == "lost" for record in so_far)
        self._say(f"{len(so_far)} faults of seed {self._seed} so far, {lost} lost")
        for each in made:
            if each.outcome == "lost":
                again = f"make chaos SEED={self._seed} ONLY={each.number}"
                self._say(f"fault {each.number} ({each.kind}, in {each.stage}): {each.problem}\n  again: {again}")
        return made
