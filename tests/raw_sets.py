"""The raw files of the ten benchmark sets, in the columns and formats that they have on the Hub, from problems in one form."""

import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Problem = dict[str, Any]

# Two problems of our own for each set, with what is special about it.
MADE: dict[str, list[Problem]] = {
    "math500": [
        {
            "question": "Write $\\frac{2}{4}$ in lowest terms.",
            "answer": "\\frac{1}{2}",
            "id": "test/a/1",
            "subject": "Algebra",
            "band": "1",
        },
        {"question": "What is $\\{1\\} \\cup \\{2\\}$?", "answer": "\\{1,2\\}", "id": "test/a/2", "subject": "Sets", "band": "5"},
    ],
    "gsm8k": [
        {"question": "Two boxes hold 1,000 pens each. How many pens?", "answer": "2,000"},
        {"question": "7 - 4?", "answer": "3"},
    ],
    "amc23": [
        {"question": "What is 3 cubed?", "answer": "27", "id": "0"},
        {"question": "Half of 1?", "answer": "0.5", "id": "49"},
    ],
    "minerva_math": [{"question": "How many metres?", "answer": "-3./2"}, {"question": "In SI?", "answer": "2.75e11"}],
    "olympiadbench": [{"question": "Find all roots.", "answer": "$1$,$-1$"}, {"question": "Sum?", "answer": "$\\frac{1}{3}$"}],
    "aime24": [{"question": "Find n.", "answer": "025", "id": "60"}, {"question": "Find m.", "answer": "204", "id": "61"}],
    "aime25": [{"question": "Find p.", "answer": "70", "id": "0"}, {"question": "Find q.", "answer": "588", "id": "1"}],
    "supergpqa": [
        {"question": "Which is even?", "answer": "B", "id": "u-1", "subject": "Science", "options": ["1", "2", "3"]},
        {"question": "Which\u2028is odd?", "answer": "A", "id": "u-2", "subject": "Law", "options": ["1", "2"]},
    ],
    "mmlu_pro": [
        {"question": "Which is a metal?", "answer": "J", "id": "70", "subject": "chemistry", "options": [*"abcdefghi", "iron"]},
        {"question": "Which is a gas?", "answer": "A", "id": "71", "subject": "chemistry", "options": ["neon", "gold", "tin"]},
    ],
    "bbeh": [
        {"question": "Is it so? Options: (A) yes (B) no", "answer": "(a)", "subject": "logic"},
        {"question": "Is it so? Options: (A) yes (B) no", "answer": "(b)", "subject": "logic"},
    ],
}


def parquet(rows: Sequence[Problem]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), buffer)
    return buffer.getvalue()


def jsonl(rows: Sequence[Problem]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


Layout = tuple[str, Callable[[Sequence[Problem]], bytes], Callable[[int, Problem], Problem]]
LAYOUTS: dict[str, Layout] = {
    "math500": ("test.jsonl", jsonl, lambda n, p: {
        "problem": p["question"], "solution": "s", "answer": p["answer"], "subject": p["subject"],
        "level": int(p["band"].split()[-1]), "unique_id": p["id"],
    }),
    "gsm8k": ("main/test-00000-of-00001.parquet", parquet, lambda n, p: {
        "question": p["question"], "answer": f"Half of it is <<4/2=2>>2.\n#### {p['answer']}",
    }),
    "amc23": ("data/test-00000-of-00001.parquet", parquet, lambda n, p: {
        "id": int(p["id"]), "answer": float(p["answer"]), "question": p["question"], "url": "u",
    }),
    "minerva_math": ("test.jsonl", jsonl, lambda n, p: {"problem": p["question"], "answer": p["answer"], "idx": n}),
    "olympiadbench": ("data/test-00000-of-00001.parquet", parquet, lambda n, p: {
        "question": p["question"], "final_answer": p.get("answer_raw", [p["answer"]]), "subfield": "Algebra",
    }),
    "aime24": ("data/train-00000-of-00001.parquet", parquet, lambda n, p: {
        "id": int(p["id"]), "problem": p["question"], "solution": "s", "answer": p["answer"], "url": "u", "year": "2024",
    }),
    "aime25": ("data/train-00000-of-00001-243207c6c994e1bd.parquet", parquet, lambda n, p: {
        "id": n, "problem": p["question"], "answer": p["answer"], "solution": "s",
    }),
    "supergpqa": ("SuperGPQA-all.jsonl", jsonl, lambda n, p: {
        "uuid": p["id"], "question": p["question"], "options": p["options"], "answer": "text", "answer_letter": p["answer"],
        "discipline": p.get("subject"), "difficulty": "hard",
    }),
    "mmlu_pro": ("data/test-00000-of-00001.parquet", parquet, lambda n, p: {
        "question_id": int(p["id"]), "question": p["question"], "options": p["options"], "answer": p["answer"],
        "answer_index": 0, "category": p["subject"], "cot_content": "",
    }),
    "bbeh": ("train.jsonl", jsonl, lambda n, p: {"task": p["subject"], "question": p["question"], "answer": p["answer"]}),
}  # fmt: skip
# What lies beside them in the repositories and must not be taken for the set.
BESIDE = {
    "README.md": b"# A data set\n",
    "main/train-00000-of-00001.parquet": parquet([{"question": "q", "answer": "#### 1"}]),
    "socratic/test-00000-of-00001.parquet": parquet([{"question": "q", "answer": "#### 1"}]),
    "data/validation-00000-of-00001.parquet": parquet([{"question": "q", "answer": "A"}]),
    "testing.csv": b"question,answer\nq,1\n",
}


def raw_files(name: str, problems: Sequence[Problem]) -> dict[str, bytes]:
    """A repository's files: the set `name`, and others."""
    path, write, row = LAYOUTS[name]
    return {**BESIDE, path: write([row(number, problem) for number, problem in enumerate(problems)])}
