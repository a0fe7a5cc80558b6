r"""The two prompts, and what is read from the responses to them.

A Challenger's response is well-formed when it holds exactly one `<question>...</question>` and exactly one `\boxed{}`,
neither of them empty (R-Zero, arXiv 2508.05004, format check of section 3.2). A Solver's answer is its last box.
Everything here reads hostile text: one pass, no regular expression that could backtrack, no formatting of model output.
"""

from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

_OPEN, _CLOSE, _BOX = "<question>", "</question>", "\\boxed"
# Chat templates spell their control tokens like this; a question that holds one could end the Solver's prompt early.
_CONTROL = "<|"


def parse_question(text: str) -> str | None:
    r"""The question of a well-formed Challenger response, stripped; None for any other response.

    A response with `<|` in it is not well-formed: the question would smuggle chat-template tokens into the Solver's prompt.

    >>> parse_question(r"<question>What is 2 + 3?</question> \boxed{5}")
    'What is 2 + 3?'
    """
    if text.count(_OPEN) != 1 or text.count(_CLOSE) != 1 or _CONTROL in text:
        return None
    start, end = text.index(_OPEN) + len(_OPEN), text.index(_CLOSE)
    if end < start or len(_boxes(text)) != 1 or extract_boxed(text) is None:
        return None
    return text[start:end].strip() or None


def extract_boxed(text: str) -> str | None:
    r"""What the last `\boxed{...}` holds, stripped; None where there is no box, or the last one is empty or never closed.

    >>> extract_boxed(r"So \boxed{1}, no: \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    """
    boxes = _boxes(text)
    if not boxes:
        return None
    start = text.index("{", boxes[-1]) + 1
    depth, escaped = 1, False
    for position in range(start, len(text)):
        char = text[position]
        if escaped:
            escaped = False  # \{ and \} are printed braces, \\ is a line break: none of them groups
        elif char == "\\":
            escaped = True
        elif char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                return text[start:position].strip() or None
    return None


def _boxes(text: str) -> list[int]:
    r"""Where each `\boxed` begins that a brace follows, spaces between them allowed."""
    found = []
    position = text.find(_BOX)
    while position >= 0:
        after = position + len(_BOX)
        while after < len(text) and text[after].isspace():
            after += 1
        if text.startswith("{", after):
            found.append(position)
        position = text.find(_BOX, after)
    return found


@dataclass(frozen=True, slots=True)
class Prompt:
    system: str | None
    user: str


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of both roles, and of the Solver's verdict on a question, as `load_prompts` reads them."""

    challenger: Prompt
    solver: Prompt
    validity: Prompt

    def challenger_messages(self) -> list[dict[str, str]]:
        """The one fixed conversation that every question of a run is sampled from."""
        return _messages(self.challenger.system, self.challenger.user)

    def solver_messages(self, question: str) -> list[dict[str, str]]:
        """The conversation that puts `question` to the Solver. Braces in the question are left as they are."""
        return _messages(self.solver.system, self.solver.user.replace("{question}", question))

    def validity_messages(self, question: str) -> list[dict[str, str]]:
        r"""The conversation that asks the Solver whether `question` is well-posed: \boxed{valid} or \boxed{invalid}."""
        return _messages(self.validity.system, self.validity.user.replace("{question}", question))


def load_prompts(path: str | Path) -> Prompts:
    """Prompts from a YAML file with the keys `challenger`, `solver` and `validity`, each with `system` (text or null) and `user`.

    ValueError with the file, the key and what would be valid, where the file is missing or does not fit.
    """
    try:
        # Prompts are full of braces and dollars: interpolation stays unresolved.
        document = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, YAMLError, UnicodeDecodeError, OmegaConfBaseException) as error:
        raise ValueError(f"prompts file {str(path)!r} cannot be read: {error}") from error
    names = ("challenger", "solver", "validity")
    _expect_keys(document, set(names), path, "the file")
    assert isinstance(document, dict)
    prompts = {name: _prompt(document[name], path, name) for name in names}
    for name in ("solver", "validity"):
        if "{question}" not in prompts[name].user:
            raise ValueError(f"prompts file {str(path)!r}: {name}.user must contain {{question}}, where the question is put")
    return Prompts(**prompts)


def _prompt(node: object, path: str | Path, role: str) -> Prompt:
    _expect_keys(node, {"system", "user"}, path, role)
    assert isinstance(node, dict)
    system, user = node["system"], node["user"]
    if not isinstance(user, str) or not user.strip():
        raise ValueError(f"prompts file {str(path)!r}: {role}.user must be a text that is not empty, not {user!r}")
    if system is not None and not isinstance(system, str):
        raise ValueError(f"prompts file {str(path)!r}: {role}.system must be a text, or null for none, not {system!r}")
    return Prompt(system, user)


def _expect_keys(node: object, keys: set[str], path: str | Path, where: str) -> None:
    if not isinstance(node, dict) or set(node) != keys:
        found = sorted(map(str, node)) if isinstance(node, dict) else node
        raise ValueError(f"prompts file {str(path)!r}: {where} must have exactly the keys {sorted(keys)}, found {found!r}")


def _messages(system: str | None, user: str) -> list[dict[str, str]]:
    messages = [{"role": "user", "content": user}]
    return messages if system is None else [{"role": "system", "content": system}, *messages]
