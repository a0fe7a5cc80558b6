"""Prompts files for tests."""

from pathlib import Path
from typing import Any

import yaml

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
