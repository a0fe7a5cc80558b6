r"""The prompts, and the parsing of the responses to them.

A Challenger's response is well-formed when it holds exactly one `<question>...</question>` and exactly one `\boxed{}`,
neither of them empty (R-Zero, arXiv 2508.05004, format check of section 3.2). A Solver's answer is its last box.
Responses are hostile text: one pass, no regular expression that backtracks, no formatting of model output.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

_OPEN, _CLOSE = "<question>", "</question>"
_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")
_LONGEST_BARE = 100  # characters of an answer that is boxed without braces


def parse_question(text: str, special_tokens: Collection[str] = (), prompts: str = "") -> str | None:
    r"""The question of a well-formed Challenger response, stripped; None for any other response.

    Args:
        special_tokens: of the tokenizer. A response that contains one is malformed: its question could end the Solver's
            prompt early.
        prompts: the text of all prompts. A question whose words occur there is an echo, not a question.

    >>> parse_question(r"<question>What is 2 + 3?</question> \boxed{5}")
    'What is 2 + 3?'
    """
    if text.count(_OPEN) != 1 or text.count(_CLOSE) != 1:
        return None
    if any(token in text for token in special_tokens if token not in (_OPEN, _CLOSE)):
        return None
    start, end = text.index(_OPEN) + len(_OPEN), text.index(_CLOSE)
    if end < start or len(_boxes(text)) != 1 or extract_boxed(text) is None:
        return None
    question = text[start:end].strip()
    return None if not question or _is_echo(question, prompts) else question


def _is_echo(question: str, prompts: str) -> bool:
    """Whether the words of the question occur in sequence in the prompts, ignoring punctuation."""
    words, prompt_words = (" ".join(re.findall(r"\w+", text.casefold())) for text in (question, prompts))
    return bool(words) and f" {words} " in f" {prompt_words} "


def extract_boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` or `\fbox{...}`, stripped; None if there is none, or it is empty or not closed.

    An answer without braces is accepted as well (`\boxed 42`), but not a word, which is likely part of the sentence.

    >>> extract_boxed(r"So \boxed{1}, no: \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    """
    boxes = _boxes(text)
    if not boxes:
        return None
    return _braced(text, boxes[-1]) if text.startswith("{", boxes[-1]) else _bare(text, boxes[-1])


def _boxes(text: str) -> list[int]:
    """Start of each boxed answer: at its brace, or on the same line without one."""
    starts = []
    for box in _BOX.finditer(text):
        if text.startswith("{", box.end()) or ("\n" not in box[0] and _bare(text, box.end())):
            starts.append(box.end())
    return starts


def _braced(text: str, start: int) -> str | None:
    """The text between the brace at `start` and its closing brace."""
    depth, escaped = 0, False
    for position in range(start, len(text)):
        char = text[position]
        if escaped:
            escaped = False  # \{ and \} are literal braces, \\ is a line break: none of them groups
        elif char == "\\":
            escaped = True
        elif char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                return text[start + 1 : position].strip() or None
    return None


def _bare(text: str, start: int) -> str | None:
    """The answer without braces at `start`, which ends at a space or with the formula; None for a word or if it is too long."""
    depth, stop = 0, start
    while stop < len(text) and stop - start <= _LONGEST_BARE:
        char = text[stop]
        if depth == 0 and (char.isspace() or char in "$)]}" or text.startswith(("\\)", "\\]"), stop)):
            break
        depth += (char in "([{") - (char in ")]}")
        stop += 1
    answer = text[start:stop].rstrip(".,;:!?")
    if depth or stop - start > _LONGEST_BARE or _BOX.match(text, start):
        return None
    is_word = len(answer) > 1 and answer.isalpha()
    return answer if any(map(str.isalnum, answer)) and not is_word else None


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

    @property
    def text(self) -> str:
        """The text of all prompts."""
        prompts = (self.challenger, self.solver, self.validity)
        return "\n".join(f"{prompt.system or ''}\n{prompt.user}" for prompt in prompts)

    def challenger_messages(self) -> list[dict[str, str]]:
        """The fixed conversation from which all questions of a run are sampled."""
        return _messages(self.challenger.system, self.challenger.user)

    def solver_messages(self, question: str) -> list[dict[str, str]]:
        """The Solver's conversation for `question`. Braces in the question are kept verbatim."""
        return _messages(self.solver.system, self.solver.user.replace("{question}", question))

    def validity_messages(self, question: str) -> list[dict[str, str]]:
        r"""The conversation that asks the Solver whether `question` is well-posed: \boxed{valid} or \boxed{invalid}."""
        return _messages(self.validity.system, self.validity.user.replace("{question}", question))


def load_prompts(path: str | Path) -> Prompts:
    """Prompts from a YAML file with the keys `challenger`, `solver` and `validity`, each with `system` (text or null) and `user`.

    Raises:
        ValueError: the file is missing or invalid; names the file, the key and what would be valid.
    """
    try:
        # Prompts contain braces and dollars: interpolation stays unresolved.
        document = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, YAMLError, UnicodeDecodeError, OmegaConfBaseException) as error:
        raise ValueError(f"prompts file {str(path)!r} cannot be read: {error}") from error
    names = ("challenger", "solver", "validity")
    _expect_keys(document, set(names), path, "the file")
    assert isinstance(document, dict)
    prompts = {name: _prompt(document[name], path, name) for name in names}
    for name in ("solver", "validity"):
        if "{question}" not in prompts[name].user:
            raise ValueError(f"prompts file {str(path)!r}: {name}.user must contain {{question}}, the place of the question")
    return Prompts(**prompts)


def _prompt(node: object, path: str | Path, role: str) -> Prompt:
    _expect_keys(node, {"system", "user"}, path, role)
    assert isinstance(node, dict)
    system, user = node["system"], node["user"]
    if not isinstance(user, str) or not user.strip():
        raise ValueError(f"prompts file {str(path)!r}: {role}.user must be a non-empty text, not {user!r}")
    if system is not None and not isinstance(system, str):
        raise ValueError(f"prompts file {str(path)!r}: {role}.system must be a text, or null for none, not {system!r}")
    return Prompt(system, user)


def _expect_keys(node: object, keys: set[str], path: str | Path, where: str) -> None:
    if not isinstance(node, dict) or set(node) != keys:
        given = sorted(map(str, node)) if isinstance(node, dict) else node
        raise ValueError(f"prompts file {str(path)!r}: {where} must have exactly the keys {sorted(keys)}, found {given!r}")


def _messages(system: str | None, user: str) -> list[dict[str, str]]:
    messages = [{"role": "user", "content": user}]
    return messages if system is None else [{"role": "system", "content": system}, *messages]
