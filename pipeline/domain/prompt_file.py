"""The file of prompts: read and checked. docs/prompts.md describes its keys."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from conf.load import TextLoader
from pipeline.domain.prompts import Example, ExampleSource, Prompt, Prompts, as_response, cuts_format, parse_question
from pipeline.domain.rows import SUFFIXES, read_rows

ROLES = ("challenger", "solver", "validity")
REQUIRED, OPTIONAL = {"system", "user"}, {"template", "template_arguments", "prefill", "stop", "examples"}
OWN = "own"  # as `examples.file`: the run's own questions


class Loader(TextLoader):
    """YAML with the usual types but no dates, where each key is given once."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (as in yaml.SafeLoader)
        first: [each for each in resolvers if not each[0].endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def load_prompts(path: str | Path) -> Prompts:
    """Prompts from a YAML file with the keys `challenger`, `solver` and `validity`, each with `system` (text or null) and `user`.

    The keys `template`, `template_arguments`, `prefill`, `stop` and `examples` are optional.

    Raises:
        ValueError: the file, or one that it names, is missing or invalid; names the file, the key and what would be valid.
    """
    try:
        document = yaml.load(Path(path).read_text(encoding="utf-8-sig"), Loader)
    except Exception as error:  # a tag such as !!bool raises whatever its conversion does
        raise ValueError(f"prompts file {str(path)!r} cannot be read: {' '.join(str(error).split())}") from error
    try:
        nodes = _keys(document, "the file", set(ROLES))
        return Prompts(**{role: _prompt(nodes[role], role, Path(path).parent) for role in ROLES})
    except ValueError as error:
        raise ValueError(f"prompts file {str(path)!r}: {error}") from error


def _prompt(document: object, role: str, folder: Path) -> Prompt:
    """One role's prompt; files that it names start from `folder`."""
    node = _keys(document, role, REQUIRED, OPTIONAL)
    system, user, prefill, template = (node.get(key) for key in ("system", "user", "prefill", "template"))
    if not isinstance(user, str) or not user.strip():
        raise ValueError(f"{role}.user must be a non-empty text, not {user!r}")
    if role != "challenger" and "{question}" not in user:
        raise ValueError(f"{role}.user must contain {{question}}, the place of the question")
    if not isinstance(system, str | None):
        raise ValueError(f"{role}.system must be a text, or null for none, not {system!r}")
    if role != "challenger" and ("{question}" in (system or "") or "{{question}}" in user):
        raise ValueError(
            f"{role}.system must not contain {{question}}, which is put into {role}.user alone, within single braces"
        )
    if not isinstance(prefill, str | None):
        raise ValueError(f"{role}.prefill must be a text, with which each response begins, not {prefill!r}")
    if template not in (None, "chat", "plain"):
        raise ValueError(f"{role}.template must be chat or plain, not {template!r}")
    arguments = _template_arguments(node.get("template_arguments"), role)
    if arguments and template == "plain":
        raise ValueError(f"{role}.template_arguments are for a chat template, and {role}.template is plain")
    prefill, stop = prefill or "", _stop(node.get("stop"), role)
    if role == "challenger" and (cut := [text for text in stop if cuts_format(text, prefill)]):
        raise ValueError(
            f"challenger.stop must leave room for <question>...</question> and \\boxed{{...}}: a response ends before {cut[0]!r}"
        )
    examples: tuple[Example, ...] = ()
    source = None
    if role == "challenger" and isinstance(node.get("examples"), dict):
        source = _source(node["examples"], folder)
    else:
        examples = _examples(node.get("examples"), role)
    for number, example in enumerate(examples, start=1):
        if found := [text for text in stop if text in (example.answer or "")]:
            raise ValueError(f"{role}.examples: number {number} contains {found[0]!r}, before which {role}.stop ends a response")
    return Prompt(system, user, template, arguments, prefill, stop, examples, source)


def _template_arguments(node: object, role: str) -> dict[str, bool | int | float | str]:
    if node is None:
        return {}
    if not isinstance(node, dict) or not all(isinstance(name, str) and name.isidentifier() for name in node):
        raise ValueError(
            f"{role}.template_arguments must be arguments of the chat template by name, such as enable_thinking: false, "
            f"not {node!r}"
        )
    for name, value in node.items():
        if not isinstance(value, bool | int | float | str):
            raise ValueError(f"{role}.template_arguments: {name} must be true, false, a number or a text, not {value!r}")
    return node


def _stop(node: object, role: str) -> tuple[str, ...]:
    if node is None:
        return ()
    if not isinstance(node, list) or not all(isinstance(text, str) and text for text in node):
        raise ValueError(f'{role}.stop must be a list of non-empty texts, such as ["\\n\\n"], not {node!r}')
    return tuple(node)


def _examples(node: object, role: str) -> tuple[Example, ...]:
    """The Challenger's examples are responses, those of the other roles questions and answers."""
    if node is None:
        return ()
    if not isinstance(node, list):
        alternative = ", or a mapping with the keys file and per_prompt" if role == "challenger" else ""
        raise ValueError(f"{role}.examples must be a list{alternative}, not {node!r}")
    if role == "challenger":
        for number, text in enumerate(node, start=1):
            if not isinstance(text, str) or parse_question(text) is None:
                raise ValueError(
                    f"challenger.examples: number {number} must be a well-formed response, with exactly one "
                    f"<question>...</question> and one \\boxed{{...}}, not {text!r}"
                )
        return tuple(Example("", text) for text in node)
    pairs = []
    for number, pair in enumerate(node, start=1):
        for key, text in _keys(pair, f"{role}.examples: number {number}", {"question", "answer"}).items():
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"{role}.examples: number {number}: {key} must be a non-empty text, not {text!r}")
        pairs.append(Example(pair["question"], pair["answer"]))
    return tuple(pairs)


def _source(document: object, folder: Path) -> ExampleSource:
    node = _keys(document, "challenger.examples", {"file", "per_prompt"})
    file, count = node["file"], node["per_prompt"]
    if type(count) is not int or count < 1:
        raise ValueError(f"challenger.examples.per_prompt must be the number of questions in a prompt, 1 or more, not {count!r}")
    if not isinstance(file, str) or not file:
        raise ValueError(f"challenger.examples.file must be a file of questions, or {OWN}, not {file!r}")
    if file == OWN:
        return ExampleSource(file, count)
    try:
        questions = _read_questions(folder / file)
    except ValueError as error:
        raise ValueError(f"challenger.examples.file: {folder / file} {error}") from error
    if count > len(questions):
        raise ValueError(
            f"challenger.examples.per_prompt={count}: {folder / file} has {len(questions)} questions; valid: at most that"
        )
    return ExampleSource(file, count, questions)


def _read_questions(path: Path) -> tuple[Example, ...]:
    """The questions of a data file with the column `question`, or of a text with one on each line; answers if each has one."""
    if not path.is_file():
        raise ValueError("is no file")
    rows: list[Mapping[str, Any]]
    if path.suffix == ".txt":
        try:
            rows = [{"question": line} for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot be read as text: {error}") from error
    elif path.suffix in SUFFIXES:
        rows = list(read_rows(path))
    else:
        raise ValueError(f"is no file of questions; valid: .txt with one on each line, {', '.join(SUFFIXES)}")
    answered = all(row.get("answer") is not None for row in rows)
    examples = []
    for number, row in enumerate(rows, start=1):
        question, answer = row.get("question"), row.get("answer")
        if not isinstance(question, str) or not question.strip():
            raise ValueError(f"row {number}: column question must be a non-empty text, not {question!r:.60}")
        if answered and (isinstance(answer, bool) or not isinstance(answer, str | int | float)):
            raise ValueError(f"row {number}: column answer must be a text or number, not {answer!r:.60}")
        example = Example(question.strip(), str(answer).strip() if answered else None)
        if parse_question(as_response(example.question, example.answer or "1")) is None:
            raise ValueError(f"row {number} cannot be written as <question>...</question> and \\boxed{{...}}: {question!r:.60}")
        examples.append(example)
    return tuple(examples)


def _keys(node: object, where: str, required: set[str], optional: Collection[str] = ()) -> dict[str, Any]:
    """The mapping `node`, if it has all `required` keys and no others than the `optional` ones."""
    if not isinstance(node, dict) or not required <= set(node) <= required | set(optional):
        given = sorted(map(str, node)) if isinstance(node, dict) else node
        also = f" and any of {sorted(optional)}" if optional else ""
        raise ValueError(f"{where} must have exactly the keys {sorted(required)}{also}, found {given!r}")
    return node
