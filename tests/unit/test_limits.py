"""Which mistakes answers of the tiny domain make, and what a run's questions are."""

from pathlib import Path

import pytest

from conf.errors import ConfigError
from jobs.limits import main, rounds
from pipeline.domain.tiny.mistakes import mistake
from pipeline.store.tables import CurriculumRow, EvaluationRow, write_table
from pipeline.types import AnsweredQuestion, Vote
from tests.made_runs import made_config, write_run

ASKED = "Compute 29 + 7 * 3 - 11."


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        ("7*3=21\n29+21=50\n50-11=39\n\\boxed{39}", "right"),
        ("7*3=21\n29+21=51\n51-12=39\n\\boxed{39}", "right"),  # by luck
        ("7*3=21\n29+21=51\n51-11=40\n\\boxed{40}", "slip"),
        ("7*3=21\n29+3=32\n32-11=21\n\\boxed{21}", "operand"),
        ("7*3=21\n29+21=50\n50+11=61\n\\boxed{61}", "operand"),
        ("7*3=21\n29+21=50\n\\boxed{50}", "length"),
        ("7*3=21\n29+21=50\n50-11=39\n39-11=28\n\\boxed{28}", "length"),
        ("7*3=21\n29+21=50", "length"),
        ("7*3=21\n29+21=50\n50-11=39\n\\boxed{50}", "box"),
        ("", "operand"),
    ],
)
def test_the_first_mistake_of_an_answer(response: str, kind: str) -> None:
    assert mistake(ASKED, response) == kind


def test_a_question_without_an_answer_has_no_mistakes() -> None:
    assert mistake("How many?", "\\boxed{1}") is None


def test_a_runs_mistakes_and_questions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(made_config(tmp_path), 1)
    hard, easy, reverse = (
        EvaluationRow(
            "0",
            ASKED,
            None,
            band,
            "39",
            (response, "7*3=21\n29+21=50\n50-11=39\n\\boxed{39}"),
            ("39",) * 2,
            "",
            "39",
            0.5,
            0.0,
            0.0,
            0,
            0,
        )
        for band, response in (("hard", "7*3=20"), ("easy", "7*3=20"), ("hard", "7*3=21"))
    )
    write_table(folder / "round-1" / "evaluation" / "heldout.parquet", EvaluationRow, [hard, easy, reverse])
    kept = [CurriculumRow(AnsweredQuestion(text, (), Vote("5", 1, 2)), True) for text in (ASKED, "Compute 3 - 9.", "How many?")]
    write_table(folder / "round-1" / "curriculum.parquet", CurriculumRow, kept)
    assert main([str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "| 1 | expression | 50.0 | 25.0 | 0.0 | 25.0 | 0.0 |" in shown
    assert "| 1 | all forms, greedy | 0.0 | 0.0 | 100.0 | 0.0 | 0.0 |" in shown
    assert "| 1 | 3 | 66.7 | 100.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 28 | 50 | 50.0 |" in shown


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not the folder of a run"):
        rounds(tmp_path)
    with pytest.raises(ConfigError, match="no round was measured"):
        rounds(write_run(made_config(tmp_path), 0))
