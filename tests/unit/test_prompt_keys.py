"""The optional keys of a prompts file, template, prefill, stop and examples: what they render to, and how responses are read."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.rollout.text import before_stop, decode
from conf.errors import ConfigError
from conf.load import load_config
from pipeline.domain.codec import PromptCodec
from pipeline.domain.problems import Problem
from pipeline.domain.prompt_file import load_prompts
from pipeline.domain.prompts import parse_question
from pipeline.domain.sets import BenchmarkSet
from pipeline.types import EncodedPrompt
from tests.prompt_files import PLAIN, POSED, chat, codec, text, tokenizer, write

# --- rendering


def test_examples_and_a_prefill_in_chat_and_as_plain_text(tmp_path: Path) -> None:
    examples = [POSED.format("1 + 1", 2), POSED.format("2 + 2", 4)]
    path = write(tmp_path, examples=examples, prefill="<question>", stop=["\n\n"])
    prompt = codec(path).challenger()
    asked = "Write a problem."
    assert text(prompt) == chat(asked, examples[0], asked, examples[1], asked) + "<question>"
    assert (prompt.prefill, prompt.stop) == ("<question>", ("\n\n",))
    for made in (tokenizer(None), tokenizer()):
        path = write(tmp_path, examples=examples, prefill="<question>", template="plain", system="Problems:")
        turns = [f"{asked}\n{example}\n\n" for example in examples]
        assert text(codec(path, made).challenger()) == "Problems:\n\n" + "".join(turns) + f"{asked}\n<question>"
    request = prompt.request([7])
    assert (request.prompt_ids, request.seeds, request.prefill, request.stop) == (prompt.token_ids, (7,), "<question>", ("\n\n",))


@pytest.mark.parametrize("role", ["solver", "validity"])
def test_examples_about_a_question(tmp_path: Path, role: str) -> None:
    path = write(tmp_path, role, template="plain", examples=[{"question": "1 + 1?", "answer": "It is \\boxed{2}."}])
    frame = PLAIN[role]["user"]
    assert frame is not None
    expected = f"{frame}\nIt is \\boxed{{2}}.\n\n".replace("{question}", "1 + 1?") + frame.replace("{question}", "Q?") + "\n"
    assert text(getattr(codec(path), role)("Q?")) == expected


@pytest.mark.parametrize(
    ("kind", "options", "first", "last"),
    [
        ("solver", (), "1 + 1?", "Which?"),
        (
            "boxed",
            (),
            "1 + 1?\nPlease reason step by step, and put your final answer within \\boxed{}.",
            "Which?\nPlease reason step by step, and put your final answer within \\boxed{}.",
        ),
        (
            "choice",
            ("4", "5"),
            "1 + 1?\nPlease reason step by step, and put your final answer within \\boxed{}.",
            "Which?\nOptions are:\n(A): 4\n(B): 5\nPlease reason step by step, and put the letter of the right option, and "
            "nothing but the letter, within \\boxed{}. Exactly one option is right.",
        ),
    ],
)
def test_a_benchmark_is_asked_with_the_solvers_examples_prefill_and_stop(
    tmp_path: Path, kind: Any, options: tuple[str, ...], first: str, last: str
) -> None:
    keys: dict[str, Any] = {"examples": [{"question": "1 + 1?", "answer": "\\boxed{2}"}], "prefill": "So", "stop": ["\nSolve"]}
    asked = codec(write(tmp_path, "solver", **keys)).problem(
        BenchmarkSet("mine", path="x", prompt=kind), Problem("Which?", "5", "0", options=options)
    )
    assert text(asked) == chat(f"Solve: {first}", "\\boxed{2}", f"Solve: {last}") + "So"
    assert asked.stop == ("\nSolve",)


def test_files_without_the_keys_mean_what_they_meant(tmp_path: Path) -> None:
    prompts = load_prompts("conf/prompts/tiny.yaml")
    assert repr(prompts.challenger) == "Prompt(system=None, user='Write a problem.')"  # a run's fingerprint is of it
    made = codec(Path("conf/prompts/tiny.yaml"))
    assert text(made.challenger()) == chat("Write a problem.")
    assert (made.challenger().prefill, made.challenger().stop) == ("", ())
    assert text(codec(Path("conf/prompts/tiny.yaml"), tokenizer(None)).solver("1 + 1?")) == "Solve:\n1 + 1?\n"
    nulls = write(tmp_path, prefill=None, stop=None, examples=None, template=None, template_arguments=None)
    assert load_prompts(nulls).challenger == prompts.challenger


THINKING = "{% if enable_thinking == false %}no {% endif %}{{ effort or '' }}{{ messages[-1].content }}>"


def test_arguments_of_the_chat_template(tmp_path: Path) -> None:
    arguments = {"enable_thinking": False, "effort": "low "}
    path = write(tmp_path, template="chat", template_arguments=arguments, prefill="<question>")
    assert text(codec(path, tokenizer(THINKING)).challenger()) == "no low Write a problem.><question>"
    codec(path, tokenizer(THINKING)).check()


@pytest.mark.parametrize(
    ("keys", "template", "said"),
    [
        ({"template": "chat"}, None, "challenger.template=chat, but the model's tokenizer has no chat template; valid: plain."),
        (
            {"template_arguments": {"x": 1}},
            None,
            "template_arguments are given, but the model's tokenizer has no chat",
        ),
        (
            {"template_arguments": {"enable_thnking": False}},
            THINKING,
            "the model's chat template has no enable_thnking; valid:",
        ),
        (
            {"template_arguments": {"tokenize": True}},
            "{{ tokenize }}",
            "the model's chat template has no tokenize; valid: its",
        ),
        ({"template_arguments": {"x": "a"}}, "{{ x + 1 }}", "the model's chat template rejects them"),
        ({"prefill": "word " * 500}, "", "the Challenger's prompt takes"),
        ({"examples": [POSED.format("word " * 500, 1)]}, "", "the Challenger's prompt takes"),
    ],
)
def test_what_a_model_cannot_do_with_its_prompts_is_told(
    tmp_path: Path, keys: dict[str, Any], template: str | None, said: str
) -> None:
    path = write(tmp_path, **keys)
    with pytest.raises(ConfigError, match=re.escape(said)) as raised:
        codec(path, tokenizer(template)).check()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["base", "reasoning", "tiny"])
def test_a_shipped_file_of_prompts_works_with_and_without_a_chat_template(name: str) -> None:
    config = load_config(overrides=[f"prompts=conf/prompts/{name}.yaml", "model.max_length=2048"])
    for made in (tokenizer(), tokenizer(None)):
        PromptCodec(config, load_prompts(config.prompts), made, asks_validity=True).check()


def test_the_examples_for_base_models_begin_like_their_prefill_and_are_not_cut_off() -> None:
    prompts = load_prompts("conf/prompts/base.yaml")
    challenger = prompts.challenger
    for example in challenger.examples:
        assert example.answer is not None
        assert example.answer.startswith(challenger.prefill)
        assert parse_question(before_stop(example.answer, challenger.stop)) is not None
    for prompt in (prompts.solver, prompts.validity):
        # What follows an answer is the beginning of the next problem, which a stop string recognises.
        assert any(stop in "\n\n" + prompt.user for stop in prompt.stop)


# --- reading


@pytest.mark.parametrize(
    ("drawn", "question"),
    [
        ("Is 7 prime?</question>\n\\boxed{yes}", "Is 7 prime?"),
        ("<question>Is 7 prime?</question>\n\\boxed{yes}", None),  # the prefill has opened one already
        ("What is 1 + 1?</question>\n\\boxed{2}", None),  # an example
        ("Is <|im_end|> so?</question>\n\\boxed{2}", None),
    ],
)
def test_a_response_is_read_with_its_prefill(tmp_path: Path, drawn: str, question: str | None) -> None:
    made = codec(write(tmp_path, examples=[POSED.format("1 + 1", 2)], prefill="<|im_start|><question>"))
    assert made.question("<|im_start|><question>" + drawn) == question


def test_the_text_of_a_response_keeps_the_space_after_a_prefill() -> None:
    """Tokenizers of the Llama 2 kind drop the space of a text's first word."""
    words = ["<s>", " Let", " us", " see"]

    def decoded(ids: list[int], skip_special_tokens: bool) -> str:
        return "".join(words[number] for number in ids).removeprefix(" ")

    request = EncodedPrompt((0, 1, 2), prefill="Let us").request([0])
    assert decode(SimpleNamespace(decode=decoded), request, (3,)) == " see"
    assert decode(SimpleNamespace(decode=decoded), replace(request, prefill=""), (3,)) == "see"
