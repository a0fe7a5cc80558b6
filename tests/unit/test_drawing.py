"""How a call's chunks are spread over engines: by their room, again where an engine is lost, with what they report."""

from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

import pytest
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, RayError, WorkerCrashedError

from actors.rollout import drawing
from actors.rollout.drawing import Drawing
from actors.rollout.worker import Drawn, Report
from conf.schema import RolloutConfig
from pipeline.types import Request, Sample

ROLLOUT = RolloutConfig(max_num_seqs=8, chunk=4)


class Stream:
    """Stands for the reports of one call."""

    def __init__(self, engine: str, chunk: list[Request]) -> None:
        self.engine, self.chunk = engine, chunk
        self.reports: deque[Report | Exception] = deque()
        self.ended = False

    def report(self, *places: int, finished: int) -> None:
        """Requests of the chunk are finished."""
        drawn = [Drawn(place, [sample(seed) for seed in self.chunk[place].seeds], 0) for place in places]
        self.reports.append(Report(drawn, finished))

    def __next__(self) -> Report | Exception:
        if self.reports:
            return self.reports.popleft()
        raise StopIteration


class Ray:
    """Stands for Ray: reports are their own references."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []

    def start(self, engine: str, chunk: list[Request]) -> Stream:
        self.streams.append(Stream(engine, chunk))
        return self.streams[-1]

    def wait(self, calls: Sequence[Stream], num_returns: int, timeout: float) -> tuple[list[Stream], list[Stream]]:
        ready = [call for call in calls if call.reports or call.ended]
        return ready[:num_returns], []

    def get(self, report: Report | Exception) -> Report:
        if isinstance(report, Exception):
            raise report
        return report

    def finish(self, stream: Stream) -> None:
        """All of its requests, in one report, and the call."""
        stream.report(*range(len(stream.chunk)), finished=sum(len(request.seeds) for request in stream.chunk))
        stream.ended = True


def sample(seed: int) -> Sample:
    return Sample((1,), (seed,), (), str(seed), "stop", "v", seed)


def asked(count: int, size: int = 2) -> list[Request]:
    return [Request((1,), tuple(range(size * place, size * (place + 1)))) for place in range(count)]


@pytest.fixture(name="stand_in")
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> Ray:
    made = Ray()
    monkeypatch.setattr(drawing, "ray", made)
    return made


def given(stand_in: Ray) -> Counter[str]:
    return Counter({engine: 0 for engine in "ab"} | Counter(s.engine for s in stand_in.streams for r in s.chunk for _ in r.seeds))


def test_engines_get_what_they_decode_at_once_and_a_chunk_more_the_emptiest_first(stand_in: Ray) -> None:
    made = Drawing(asked(40), ROLLOUT, stand_in.start)
    made.feed(["a", "b"])
    assert given(stand_in) == {"a": 12, "b": 12}
    made.feed(["a", "b"])
    assert given(stand_in) == {"a": 12, "b": 12}
    stand_in.streams[1].report(finished=3)  # samples of no whole request are finished: there is room
    assert made.arrived(()) == ([], {})
    made.feed(["a", "b"])
    assert given(stand_in) == {"a": 12, "b": 16}


@pytest.mark.parametrize(
    "loss",
    [RayActorError(), OutOfMemoryError("killed"), NodeDiedError("unreachable"), WorkerCrashedError()],
    ids=repr,
)
def test_all_arrives_once_whatever_engines_are_lost(stand_in: Ray, loss: RayError) -> None:
    requests = asked(11, size=3)
    made = Drawing(requests, ROLLOUT, stand_in.start)
    made.feed(["a", "b"])
    lost, other = stand_in.streams[:2]
    assert (lost.engine, other.engine) == ("a", "b")
    lost.report(0, finished=3)
    found = dict(made.arrived(())[0])
    assert list(found) == [0]
    lost.reports.append(loss)
    other.report(0, finished=3)
    arrived, failed = made.arrived(())
    found |= arrived
    assert list(failed) == ["a"]
    made.put_back(failed)
    assert set(made.busy) == {"b"}
    while made.unfinished:
        made.feed(["b", "c"])
        for stream in stand_in.streams:
            if stream.engine != "a" and not stream.ended:
                if stream is other:
                    stream.report(*range(1, len(stream.chunk)), finished=3 * (len(stream.chunk) - 1))
                    stream.ended = True
                else:
                    stand_in.finish(stream)
        arrived, failed = made.arrived(())
        assert not failed
        assert not found.keys() & dict(arrived).keys()
        found |= arrived
    assert {place: [each.seed for each in drawn.samples] for place, drawn in found.items()} == {
        place: list(request.seeds) for place, request in enumerate(requests)
    }
    assert not made.busy


def test_samples_that_another_call_reported_do_not_keep_an_engine_from_more(stand_in: Ray) -> None:
    """A call that was abandoned has reported the samples of this one: nobody reads that."""
    made = Drawing(asked(20), ROLLOUT, stand_in.start)
    made.feed(["a"])
    for stream in stand_in.streams:
        stream.report(*range(len(stream.chunk)), finished=0)
        stream.ended = True
    for _ in range(2):
        made.arrived(())
    assert not made.busy
    before = len(stand_in.streams)
    made.feed(["a"])
    assert len(stand_in.streams) > before


def test_an_engine_that_starts_ends_the_wait(stand_in: Ray) -> None:
    made = Drawing(asked(20), ROLLOUT, stand_in.start)
    made.feed(["a"])
    started: Any = Stream("b", [])
    started.ended = True
    assert made.arrived([started]) == ([], {})
