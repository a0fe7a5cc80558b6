"""Prompts files for tests, and what they render to with the embedded base's tokenizer."""

import json
from pathlib import Path
from typing import Any

import yaml
from transformers import AutoTokenizer

from conf.load import load_config
from pipeline.domain.codec import PromptCodec
from pipeline.domain.prompt_file import load_prompts
from pipeline.types import EncodedPrompt

PLAIN = {
    "challenger": {"system": None, "user": "Write a problem."},
    "solver": {"system": None, "user": "Solve: {question}"},
    "validity": {"system": None, "user": "Check: {question}"},
}
POSED = "<question>What is {}?</question>\n\\boxed{{{}}}"


def write(folder: Path, role: str = "challenger", **keys: Any) -> Path:
    """A prompts file in which one role has these keys too."""
    path = folder / "prompts.yaml"
    path.write_text(yaml.safe_dump(PLAIN | {role: PLAIN[role] | keys}))
    return path


ROWS = [{"question": f"What is {number} + 1?", "answer": str(number + 1)} for number in range(20, 40)]


def tokenizer(template: str | None = "") -> Any:
    """The embedded one; with another chat template, or for None without."""
    made = AutoTokenizer.from_pretrained("assets/tiny-base")
    if template != "":
        made.chat_template = template
    return made


def codec(path: Path, made: Any = None) -> PromptCodec:
    config = load_config(overrides=[f"prompts={path}", "model.max_length=512", "sampling.max_tokens=96"])
    return PromptCodec(config, load_prompts(path), made or tokenizer())


def rows_file(folder: Path, rows: list[dict[str, Any]] = ROWS) -> str:
    (folder / "questions.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return "questions.jsonl"


def text(prompt: EncodedPrompt) -> str:
    return tokenizer().decode(prompt.token_ids)


def chat(*messages: str) -> str:
    """The embedded base's rendering of alternating messages, up to the response."""
    turns = [f"<|im_start|>{role}\n{said}<|im_end|>\n" for role, said in zip(["user", "assistant"] * 9, messages, strict=False)]
    return "".join(turns) + "<|im_start|>assistant\n"
