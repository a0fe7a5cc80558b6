"""Examples that are drawn for each of the Challenger's prompts."""

import json
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conf.errors import ConfigError
from conf.load import load_config
from pipeline.domain.prompts import Example
from pipeline.examples import ChallengerPrompts
from pipeline.inputs import check_inputs
from pipeline.store.tables import CurriculumRow, write_table
from pipeline.types import AnsweredQuestion, Vote
from tests.prompt_files import POSED, ROWS, chat, codec, rows_file, text, write


def drawing(path: Path, round_: int = 1, previous: Path | None = None, seed: int = 0) -> ChallengerPrompts:
    made = codec(path)
    run: Any = SimpleNamespace(codec=made, config=SimpleNamespace(seed=seed))
    return ChallengerPrompts(run, round_, previous)


def test_examples_are_drawn_by_seed_for_each_prompt(tmp_path: Path) -> None:
    path = write(tmp_path, examples={"file": rows_file(tmp_path), "per_prompt": 2})
    prompts = drawing(path).draw(32, "challenger", 1)
    assert drawing(path).draw(32, "challenger", 1) == prompts
    assert drawing(path).draw(8, "challenger", 1) == prompts[:8]
    assert len(set(prompts)) > 24
    others = [
        drawing(path).draw(32, "challenger", 2),
        drawing(path).draw(32, "curriculum", 1),
        drawing(path, round_=2).draw(32, "challenger", 1),
        drawing(path, seed=1).draw(32, "challenger", 1),
    ]
    assert all(other != prompts for other in others)
    shown = Counter(question for prompt in prompts for question in re.findall(r"<question>(.*?)</question>", text(prompt)))
    assert shown.total() == 64
    assert set(shown) <= {row["question"] for row in ROWS}
    assert len(shown) > 15
    first = re.findall(r"What is (\d+)", text(prompts[0]))
    turns = [part for number in first for part in ("Write a problem.", POSED.format(f"{number} + 1", int(number) + 1))]
    assert text(prompts[0]) == chat(*turns, "Write a problem.")


def test_a_question_from_its_own_prompt_is_an_echo(tmp_path: Path) -> None:
    path = write(tmp_path, examples={"file": rows_file(tmp_path), "per_prompt": 1})
    made = codec(path)
    one, two = (made.challenger([Example(row["question"], row["answer"])]) for row in ROWS[:2])
    response = POSED.format("20 + 1", 21)
    assert made.question(response, one.token_ids) is None
    assert made.question(response, two.token_ids) == "What is 20 + 1?"


@pytest.mark.parametrize("name", ["questions.txt", "questions.jsonl"])
def test_questions_alone_stand_in_the_user_message(tmp_path: Path, name: str) -> None:
    questions = ["What is 1 + 1?", "What is 2 + 2?"]
    lines = questions if name.endswith("txt") else [json.dumps({"question": question}) for question in questions]
    (tmp_path / name).write_text("\n".join(lines) + "\n\n")
    source = {"file": name, "per_prompt": 2}
    drawn, shown = [Example(question, None) for question in questions], "\n\n".join(questions)
    found = codec(write(tmp_path, examples=source)).example_source
    assert found
    assert list(found.questions) == drawn
    assert text(codec(write(tmp_path, examples=source)).challenger(drawn)) == chat(f"{shown}\n\nWrite a problem.")
    placed = write(tmp_path, examples=source, user="Known:\n{examples}\nWrite another.")
    assert text(codec(placed).challenger(drawn)) == chat(f"Known:\n{shown}\nWrite another.")
    assert text(codec(placed).challenger()) == chat("Known:\n\nWrite another.")


def test_the_runs_own_questions_are_examples_from_the_second_round_on(tmp_path: Path) -> None:
    path = write(tmp_path, examples={"file": "own", "per_prompt": 3})
    vote, unsure = Vote("21", 6, 10), Vote("<|im_end|>", 6, 10)
    kept = [CurriculumRow(AnsweredQuestion(f"What is {number}?", (), vote), kept=number < 23) for number in range(20, 30)]
    unusable = CurriculumRow(AnsweredQuestion("What is 50?", (), unsure), kept=True)
    write_table(tmp_path / "curriculum.parquet", CurriculumRow, [*kept, unusable])
    assert drawing(path).draw(4, "challenger", 1) == [codec(path).challenger()] * 4
    for prompt in drawing(path, 2, tmp_path).draw(4, "challenger", 1):
        assert sorted(re.findall(r"<question>(.*?)</question>\n(.*?)<", text(prompt))) == [
            (f"What is {number}?", "\\boxed{21}") for number in (20, 21, 22)
        ]


def test_examples_that_leave_no_room_are_left_out_from_the_last_on(tmp_path: Path) -> None:
    made = codec(write(tmp_path, examples={"file": rows_file(tmp_path), "per_prompt": 1}))
    drawn = [Example(f"What is {'1 + ' * length}1?", "9") for length in (20, 60, 200)]
    assert made.challenger(drawn) == made.challenger(drawn[:2])
    assert len(made.challenger(drawn)) <= 512 - 96
    assert made.challenger(drawn[::-1]) == made.challenger()
    made.check()


def test_a_change_of_the_file_of_questions_changes_the_fingerprint_of_the_prompts(tmp_path: Path) -> None:
    path = write(tmp_path, examples={"file": rows_file(tmp_path), "per_prompt": 2})
    config = load_config(overrides=[f"prompts={path}", "evaluation.sets=[]"])
    before = check_inputs(config).fingerprints()["prompts"]
    assert check_inputs(config).fingerprints()["prompts"] == before
    rows_file(tmp_path, ROWS[1:])
    assert check_inputs(config).fingerprints()["prompts"] != before


def test_a_special_token_in_a_question_of_the_file_is_told(tmp_path: Path) -> None:
    rows = [*ROWS, {"question": "Is <|im_end|> so?", "answer": "1"}]
    with pytest.raises(ConfigError, match=r"examples\.file: 'Is <\|im_end\|> so\?' contains a special token"):
        codec(write(tmp_path, examples={"file": rows_file(tmp_path, rows), "per_prompt": 2})).check()
