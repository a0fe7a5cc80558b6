r"""The prompts, and the parsing of the responses to them. `pipeline/domain/prompt_file.py` reads the prompts of a file.

A Challenger's response is well-formed when it holds exactly one `<question>...</question>` and exactly one `\boxed{}`,
neither of them empty (R-Zero, arXiv 2508.05004, format check of section 3.2). A Solver's answer is its last box.
Responses are hostile text: one pass, no regular expression that backtracks, no formatting of model output.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Literal

_OPEN, _CLOSE = "<question>", "</question>"
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![a-zA-Z])\s*")
_LONGEST_BARE = 100  # characters of an answer that is boxed without braces
_LONGEST_PLACEHOLDER = 60
_MACRO = re.compile(
    r"\\(?:(?:text|math)(?:bf|it|rm|sf|tt|normal)?|mbox|emph|underline|boxed|f(?:rame)?box|q?quad)(?![a-zA-Z])|\\[ ,;:!_]"
)
_DOTS = re.compile(r"(?:[._?…\s]|\\(?:[lc]?dots|square|Box)(?![a-zA-Z]))+")
_ANSWER = frozenset({"answer", "answers", "答案", "最终答案"})
_ABOUT_IT = frozenset({"final", "correct", "your", "the", "its", "my", "here", "insert", "put", "write", "enter", "goes"})


def parse_question(text: str, special_tokens: Collection[str] = (), prompts: str = "", prefill: str = "") -> str | None:
    r"""The question of a well-formed Challenger response, stripped; None for any other response.

    Args:
        special_tokens: of the tokenizer. A response that contains one is malformed: its question could end the Solver's
            prompt early.
        prompts: the text of all prompts. A question whose words occur there is an echo, not a question.
        prefill: what the response was given to begin with, which may contain special tokens.

    >>> parse_question(r"<question>What is 2 + 3?</question> \boxed{5}")
    'What is 2 + 3?'
    """
    if text.count(_OPEN) != 1 or text.count(_CLOSE) != 1:
        return None
    drawn = text.removeprefix(prefill)
    if any(token in drawn for token in special_tokens if token not in (_OPEN, _CLOSE)):
        return None
    start, end = text.index(_OPEN) + len(_OPEN), text.index(_CLOSE)
    if end < start or len(_boxes(text)) != 1 or not next(_contents(text)):
        return None
    question = text[start:end].strip()
    return None if not question or _is_echo(question, prompts) else question


def as_response(question: str, answer: str) -> str:
    r"""The response that poses `question`.

    >>> parse_question(as_response("What is 2 + 3?", "5"))
    'What is 2 + 3?'
    """
    return f"{_OPEN}{question}{_CLOSE}\n\\boxed{{{answer}}}"


def cuts_format(stop: str, prefill: str) -> bool:
    """Whether no response after `prefill` can be well-formed, since one of the format's marks contains the stop string."""
    return any(stop in mark for mark in (_OPEN, _CLOSE, "\\boxed{", "}") if mark not in prefill)


def _is_echo(question: str, prompts: str) -> bool:
    """Whether the words of the question occur in sequence in the prompts, ignoring punctuation."""
    words, prompt_words = (" ".join(re.findall(r"\w+", text.casefold())) for text in (question, prompts))
    return bool(words) and f" {words} " in f" {prompt_words} "


def extract_boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` or `\fbox{...}` that says something; None if there is none, or it is not closed.

    A box that is empty or holds a placeholder is talk of an answer ("put it within \boxed{}", "\boxed{...}"), into which base
    models run on after theirs. An answer without braces is accepted as well (`\boxed 42`), but not a word, which is likely part
    of the sentence.

    >>> extract_boxed(r"So \boxed{1}, no: \boxed{\frac{1}{2}}. Use \boxed{your answer}.")
    '\\frac{1}{2}'
    """
    return next((content for content in _contents(text) if content is None or not _is_placeholder(content)), None)


def _contents(text: str) -> Iterator[str | None]:
    """What each box holds, the last one first; None for one that is not closed."""
    return (_braced(text, start) if text.startswith("{", start) else _bare(text, start) for start in reversed(_boxes(text)))


def _is_placeholder(content: str) -> bool:
    r"""Whether a box holds no answer but stands for one: `...`, `\square`, `___`, `\text{your final answer}`, `N/A`.

    >>> [_is_placeholder(each) for each in (r"\text{the answer}", r"\ldots", "N/A", "the answer is 5", r"1,\ldots", "-")]
    [True, True, True, False, False, False]
    """
    if len(content) > _LONGEST_PLACEHOLDER:
        return False
    words = re.split(r"[\s{}\[\]()<>.,:;_*!?：…-]+", plain := _MACRO.sub(" ", content).strip("{} "))
    said = {word.casefold() for word in words if word}
    return not plain or bool(_DOTS.fullmatch(plain)) or plain == "N/A" or bool(said & _ANSWER and said <= _ANSWER | _ABOUT_IT)


def _boxes(text: str) -> list[int]:
    """Start of each boxed answer: at its brace, or on the same line without one."""
    starts = []
    for box in _BOX.finditer(text):
        if text.startswith("{", box.end()) or ("\n" not in box[0] and _bare(text, box.end())):
            starts.append(box.end())
    return starts


def _braced(text: str, start: int) -> str | None:
    """The text between the brace at `start` and its closing brace; None if it is not closed."""
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
                return text[start + 1 : position].strip()
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
class Example:
    """An example of what a role is given and what it writes: a question and, except in a file of questions alone, the answer."""

    question: str
    answer: str | None


@dataclass(frozen=True, slots=True)
class ExampleSource:
    """Questions of which each Challenger prompt shows `per_prompt`: those of `file`, or the run's own if it is "own"."""

    file: str
    per_prompt: int
    questions: tuple[Example, ...] = ()  # of the file


@dataclass(frozen=True, slots=True, repr=False)
class Prompt:
    """A role's prompt, see docs/prompts.md. `template` is None for the chat template of a model that has one, else plain text."""

    system: str | None
    user: str
    template: Literal["chat", "plain"] | None = None
    template_arguments: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    prefill: str = ""
    stop: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()  # the Challenger's are responses, without a question before them
    source: ExampleSource | None = None  # the Challenger's alone

    def __repr__(self) -> str:
        """Without keys that are not given, so that runs from before a key existed keep the fingerprint of their prompts."""
        given = [
            f"{each.name}={getattr(self, each.name)!r}"
            for each in fields(self)
            if each.default is each.default_factory is MISSING or getattr(self, each.name)
        ]
        return f"Prompt({', '.join(given)})"

    def text(self) -> str:
        """All text of the prompt."""
        examples = (f"{example.question}\n{example.answer}" for example in self.examples)
        return "\n".join([self.system or "", *examples, self.user, self.prefill])


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of both roles, and of the Solver's verdict on a question, as `load_prompts` reads them."""

    challenger: Prompt
    solver: Prompt
    validity: Prompt

    @property
    def for_base(self) -> bool:
        """Whether they are for base models: plain text that a response continues."""
        return self.challenger.template == "plain"

    @property
    def text(self) -> str:
        """The text of all prompts."""
        return "\n".join(prompt.text() for prompt in (self.challenger, self.solver, self.validity))

    def challenger_messages(self, drawn: Sequence[Example] = ()) -> list[dict[str, str]]:
        """The conversation from which questions are sampled: the same for all of a run, but for the examples drawn for it.

        Drawn questions take the place of `{examples}` in the user message. Where it has none they are earlier responses, or
        come first in the user message if they have no answers.
        """
        prompt, user = self.challenger, self.challenger.user
        responses = [example.answer or "" for example in prompt.examples]
        if prompt.source is not None:
            if "{examples}" not in user and any(example.answer is None for example in drawn):
                user = f"{{examples}}\n\n{user}"
            if "{examples}" in user:
                user = user.replace("{examples}", "\n\n".join(example.question for example in drawn)).strip()
            else:
                responses = [as_response(example.question, example.answer or "") for example in drawn]
        return conversation(prompt.system, [(user, response) for response in responses], user)

    def solver_messages(self, question: str) -> list[dict[str, str]]:
        """The Solver's conversation for `question`. Braces in the question are kept verbatim."""
        return _about(self.solver, question)

    def validity_messages(self, question: str) -> list[dict[str, str]]:
        r"""The conversation that asks the Solver whether `question` is well-posed: \boxed{valid} or \boxed{invalid}."""
        return _about(self.validity, question)


def _about(prompt: Prompt, question: str) -> list[dict[str, str]]:
    def ask(about: str) -> str:
        return prompt.user.replace("{question}", about)

    turns = [(ask(example.question), example.answer or "") for example in prompt.examples]
    return conversation(prompt.system, turns, ask(question))


def conversation(system: str | None, turns: Sequence[tuple[str, str]], user: str) -> list[dict[str, str]]:
    """Messages of a chat: the system message, earlier turns of (user, response), the last user message."""
    messages = [] if system is None else [{"role": "system", "content": system}]
    for said, response in turns:
        messages += [{"role": "user", "content": said}, {"role": "assistant", "content": response}]
    return [*messages, {"role": "user", "content": user}]
