"""The Solver's batches: exercises with a known verdict among them, and groups drawn again where there was no gradient."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conf.schema import Config, SolverConfig
from pipeline.domain.graders.exact import ExactGrader
from pipeline.observe.clock import Clock
from pipeline.solver import Exercise, SolverTask
from pipeline.store.tables import CurriculumRow, write_table
from pipeline.types import AnsweredQuestion, EncodedPrompt, Request, Sample, Vote

POLICY: Any = None


class Grades:
    """Grades as the reward actor gives them, where equal texts are equal answers."""

    def __init__(self) -> None:
        self.made: dict[tuple[int, int], float] = {}

    def add(self, place: tuple[int, int], answer: str | None, label: str) -> None:
        self.made[place] = float(answer == label)

    def results(self) -> list[float]:
        return [self.made[place] for place in sorted(self.made)]


def answered_by(parity: int) -> Any:
    """Answers: to a question with an even number half are right, to one with an odd number all; `parity` turns that round."""

    def drawn(requests: list[Request]) -> Iterator[tuple[int, list[Sample]]]:
        for index, request in enumerate(requests):
            number = request.prompt_ids[0]
            right = 1 if (number + parity) % 2 == 0 else len(request.seeds)
            texts = [f"\\boxed{{{number}}}"] * right + ["\\boxed{none}"] * (len(request.seeds) - right)
            yield index, [Sample(request.prompt_ids, (1,), (-0.1,), text, "stop", "v", seed)
                          for text, seed in zip(texts, request.seeds, strict=True)]  # fmt: skip

    return drawn


def task(tmp_path: Path, questions: int = 8, **solver: Any) -> SolverTask:
    """Of a curriculum with the questions 10, 11, ..., whose labels are these numbers. A step asks eight."""
    config = Config(solver=SolverConfig(batch=16, group=2, **solver))
    rows = [CurriculumRow(AnsweredQuestion(f"{n}. What?", (), Vote(str(n), 9, 10)), True) for n in range(10, 10 + questions)]
    write_table(tmp_path / "curriculum.parquet", CurriculumRow, rows)
    codec = SimpleNamespace(
        solver=lambda question: EncodedPrompt((int(question[:2]),)), validity=lambda question: EncodedPrompt((99, len(question)))
    )
    run: Any = SimpleNamespace(
        config=config,
        codec=codec,
        clock=Clock(),
        state=SimpleNamespace(round_folder=lambda number: tmp_path),
        reward=SimpleNamespace(grader=ExactGrader(), grading=lambda grader: Grades()),
        stream=lambda role, requests, policy, sampling: answered_by(1)(requests),  # what is drawn again
    )
    return SolverTask(run, 1)


def first_draw(made: SolverTask, step: int) -> Iterator[tuple[int, list[Sample]]]:
    requests = [prompt.request([0, 1]) for prompt in made.prompts(step)]
    drawn: Iterator[tuple[int, list[Sample]]] = answered_by(0)(requests)
    return drawn


def test_groups_without_a_gradient_are_replaced(tmp_path: Path) -> None:
    plain, again = task(tmp_path, 24), task(tmp_path, 24, resample=1)
    before, after = plain.score(1, first_draw(plain, 1), POLICY), again.score(1, first_draw(again, 1), POLICY)
    even = [place for place, rewards in enumerate(before.rewards) if len(set(rewards)) == 1]
    assert [plain._batch(1)[place].question for place in even] == [
        exercise.question for exercise in plain._batch(1) if int(exercise.label) % 2
    ]
    assert "resampled_groups" not in before.metrics
    replaced = int(after.metrics["resampled_groups"])
    assert 0 < replaced <= len(even)
    assert sum(len(set(rewards)) == 1 for rewards in after.rewards) == len(even) - replaced
    assert len({group[0].prompt_ids for group in after.groups}) == 8  # by other questions
    for place in set(range(8)) - set(even):
        assert after.groups[place] == before.groups[place]
    for group, rewards in zip(after.groups, after.rewards, strict=True):
        assert rewards == [float(sample.text == f"\\boxed{{{sample.prompt_ids[0]}}}") for sample in group]


def test_where_all_questions_are_asked_nothing_is_replaced(tmp_path: Path) -> None:
    made = task(tmp_path, 8, resample=2)
    assert made.score(1, first_draw(made, 1), POLICY).metrics["resampled_groups"] == 0


def test_well_formed_is_the_share_of_what_is_trained_on(tmp_path: Path) -> None:
    made = task(tmp_path, 24, resample=8)
    without_boxes = ((index, [replace(each, text="7") for each in group]) for index, group in first_draw(made, 1))
    scored = made.score(1, without_boxes, POLICY)
    assert scored.metrics["well_formed"] == scored.metrics["resampled_groups"] / 8 > 0.5


def test_a_step_that_is_repeated_draws_the_same_again(tmp_path: Path) -> None:
    one, other = task(tmp_path, 24, resample=2), task(tmp_path, 24, resample=2)
    one.score(1, first_draw(one, 1), POLICY)
    assert one.score(2, first_draw(one, 2), POLICY) == other.score(2, first_draw(other, 2), POLICY)
    seeds = {sample.seed for group in other.score(2, first_draw(other, 2), POLICY).groups for sample in group}
    assert len(seeds - {0, 1}) > 2  # their own


def test_more_draws_leave_fewer_groups_without_a_gradient(tmp_path: Path) -> None:
    counts = []
    for draws in (0, 1, 8):
        made = task(tmp_path, 24, resample=draws)
        counts.append(sum(len(set(rewards)) == 1 for rewards in made.score(1, first_draw(made, 1), POLICY).rewards))
    assert counts[0] > counts[1] >= counts[2] == 0


def test_a_share_of_the_prompts_asks_for_verdicts(tmp_path: Path) -> None:
    made = task(tmp_path, verdicts=0.25)
    batch = made._batch(1)
    assert [exercise.asks_verdict for exercise in batch] == [False] * 6 + [True] * 2
    assert {exercise.label for step in range(1, 9) for exercise in made._batch(step)[6:]} == {"valid", "invalid"}
    assert [len(prompt) for prompt in made.prompts(1)] == [1] * 6 + [2] * 2
    scored = made.score(1, first_draw(made, 1), POLICY)
    assert len(scored.rewards) == 8
    assert len(scored.p_hats) == 6
    assert scored.rewards[6:] == [[0.0, 0.0]] * 2  # 99 is no verdict
    assert not task(tmp_path, verdicts=0.0).verdicts


def test_prompts_for_verdicts_are_not_replaced_by_questions(tmp_path: Path) -> None:
    made = task(tmp_path, 24, verdicts=0.25, resample=8)
    scored = made.score(1, first_draw(made, 1), POLICY)
    assert len(scored.p_hats) == 6
    assert scored.rewards[6:] == [[0.0, 0.0]] * 2


def test_each_member_has_a_share_of_its_own(tmp_path: Path) -> None:
    made = task(tmp_path, 59, members=3, steps=4, resample=1)
    shares = []
    for member in range(3):
        steps = range(4 * member + 1, 4 * member + 5)
        batches = [exercise.question for step in steps for exercise in made._batch(step)]
        assert len(set(batches[:16])) == 16  # each once before any is repeated
        asked = set(batches)
        for step in steps:  # what is drawn in place of others is of the same share
            groups = made.score(step, first_draw(made, step), POLICY).groups
            assert {f"{group[0].prompt_ids[0]}. What?" for group in groups} <= asked
        shares.append(asked)
    assert sorted(map(len, shares)) == [19, 20, 20]
    assert len(set.union(*shares)) == 59


def test_more_members_than_questions_train_on_all(tmp_path: Path) -> None:
    made = task(tmp_path, members=9, steps=1)
    assert [len({exercise.question for exercise in made._batch(step)}) for step in (1, 8, 9)] == [8, 8, 8]


def test_a_verdict_is_an_exercise_without_a_vote() -> None:
    assert Exercise("x", "valid").asks_verdict
    assert not Exercise("x", "7", 0.0).asks_verdict


@pytest.mark.parametrize(("schedule", "rates"), [("constant", [0.4] * 4), ("linear", [0.4, 0.3, 0.2, 0.1])])
def test_the_learning_rate_of_each_step(schedule: str, rates: list[float]) -> None:
    settings = SolverConfig(steps=4, lr=0.4, schedule=schedule)
    assert [settings.lr_at(step) for step in range(1, 5)] == pytest.approx(rates)
