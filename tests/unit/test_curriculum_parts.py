"""The curriculum is drawn in one call for each policy, saved in parts, and resumes from them to the same rows."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import pipeline.curriculum
from conf.schema import Config, CurriculumConfig, RewardConfig
from pipeline.curriculum import Part, label_questions, write_questions
from pipeline.domain.graders.exact import ExactGrader
from pipeline.observe.clock import Clock
from pipeline.observe.terminal import PhaseProgress
from pipeline.store.tables import CurriculumRow, read_table, write_table
from pipeline.types import EncodedPrompt, Request, Sample, Vote
from tests.unit.test_solver_task import Grades

SIZES = (5, 5, 2)


class Votes:
    """Votes as the reward actor takes them, where equal texts are equal answers."""

    def __init__(self) -> None:
        self.taken: dict[int, Vote] = {}

    def add(self, place: int, answers: Sequence[str]) -> None:
        ((answer, count),) = Counter(answers).most_common(1)
        self.taken[place] = Vote(answer, count, len(answers))

    def results(self) -> list[Vote]:
        return [self.taken[place] for place in sorted(self.taken)]


class Drawn:
    """Stands for engines: what they draw depends on the seed alone, and what is finished first on chance."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def stream(
        self, role: str, requests: Sequence[Request], policy: object, sampling: object, for_learning: bool
    ) -> Iterator[tuple[int, list[Sample]]]:
        self.calls.append(len(requests))
        for place in random.Random(len(self.calls)).sample(range(len(requests)), len(requests)):
            yield place, [sample(role, requests[place], seed) for seed in requests[place].seeds]


def sample(role: str, request: Request, seed: int) -> Sample:
    number = random.Random(seed).randrange(4)
    text = f"\\boxed{{{number}}}" if role == "solver" else f"question {seed}" if number else "malformed"
    return Sample(request.prompt_ids, (1,), (-0.1,), text, "stop", "v", seed)


def run_of(drawn: Drawn, folder: Path, agreement: int = 0) -> Any:
    config = Config(curriculum=CurriculumConfig(agreement=agreement, delta=0.5), reward=RewardConfig(samples=4))
    codec = SimpleNamespace(
        question=lambda text, prompt: text if text.startswith("question") else None,
        fits=lambda question: True,
        example_source=None,
        challenger=lambda: EncodedPrompt((1,)),
        solver=lambda question: EncodedPrompt((int(question.split()[1]),)),
    )
    return SimpleNamespace(
        config=config, codec=codec, clock=Clock(), needs=frozenset(), stream=drawn.stream,
        state=SimpleNamespace(round_folder=lambda number: folder / f"round-{number}"),
        reward=SimpleNamespace(grader=ExactGrader(), voting=Votes, grading=Grades),
        stored_policy=lambda role, number: role, labelling_policy=lambda number: number,
    )  # fmt: skip


def parts_in(folder: Path) -> list[Part]:
    return [Part(number, size, folder) for number, size in enumerate(SIZES)]


def label(run: Any, parts: Sequence[Part]) -> list[CurriculumRow]:
    """As `write_curriculum` does, the rows of all parts."""
    write_questions(run, 2, [part for part in parts if not any(file.exists() for file in part.files)])
    for part, rows in label_questions(run, 2, [part for part in parts if not part.labelled.exists()]):
        write_table(part.labelled, CurriculumRow, rows)
        pipeline.curriculum.leave_if_requested()
    return [row for part in parts for row in read_table(part.labelled, CurriculumRow)]


@pytest.mark.parametrize("agreement", [0, 1])
def test_all_parts_are_drawn_in_one_call_a_policy_and_are_those_drawn_one_by_one(tmp_path: Path, agreement: int) -> None:
    together, alone = Drawn(), Drawn()
    rows = label(run_of(together, tmp_path, agreement), parts_in(tmp_path / "together"))
    assert len(together.calls) == 2 + agreement
    assert together.calls[0] == sum(SIZES)
    one_by_one = [row for part in parts_in(tmp_path / "alone") for row in label(run_of(alone, tmp_path, agreement), [part])]
    assert len(alone.calls) == len(SIZES) * (2 + agreement)
    assert rows == one_by_one
    assert {row.answered.question is None for row in rows} == {row.kept for row in rows} == {True, False}


@pytest.mark.parametrize("agreement", [0, 1])
@pytest.mark.parametrize("saved", range(1, len(SIZES) * 2))
def test_what_is_saved_is_not_drawn_again(tmp_path: Path, saved: int, agreement: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, first, second = Drawn(), Drawn(), Drawn()
    expected = label(run_of(whole, tmp_path, agreement), parts_in(tmp_path / "undisturbed"))
    parts, left = parts_in(tmp_path / "interrupted"), iter([False] * (saved - 1) + [True])

    def interrupted() -> None:
        if next(left):
            raise KeyboardInterrupt

    monkeypatch.setattr(pipeline.curriculum, "leave_if_requested", interrupted)
    with pytest.raises(KeyboardInterrupt):
        label(run_of(first, tmp_path, agreement), parts)
    monkeypatch.undo()
    written = [part for part in parts if part.written.exists()]
    done = [file for part in parts for file in (part.answered, part.labelled) if file.exists()]
    assert len(written) + len(done) == saved
    answered = sum(row.answered.question is not None for file in done for row in read_table(file, CurriculumRow))
    assert label(run_of(second, tmp_path, agreement), parts) == expected
    assert sum(second.calls) == sum(whole.calls) - sum(part.size for part in written) - answered


def test_progress_is_told_of_steps_within_a_call(capsys: pytest.CaptureFixture[str]) -> None:
    with PhaseProgress("curriculum", total=2) as progress:
        progress.drawing(10)
        progress.drawn(6, 60)
        progress.update(1)
        progress.drawn(4, 40)
        progress.update(2)
    assert "curriculum 2/2" in capsys.readouterr().out
