"""The optional keys of a prompts file, template, prefill, stop and examples: what they render to, and how responses are read."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoTokenizer

from actors.rollout.worker import before_stop, decode
from conf.load import ConfigError, load_config
from pipeline.domain.codec import PromptCodec
from pipeline.domain.problems import Problem
from pipeline.domain.prompt_file import load_prompts
from pipeline.domain.prompts import Example, parse_question
from pipeline.domain.sets import BenchmarkSet
from pipeline.examples import ChallengerPrompts
from pipeline.inputs import check_inputs
from pipeline.store.tables import CurriculumRow, write_table
from pipeline.types import AnsweredQuestion, EncodedPrompt, Vote
from tests.prompt_files import PLAIN, POSED, write

ROWS = [{"question": f"What is {number} + 1?", "answer": str(number + 1)} for number in range(20, 40)]


def tokenizer(template: str | None = "") -> Any:
    """The embedded one; with another chat template, or for None without."""
    made = AutoTokenizer.from_pretrained("assets/tiny-base")
    if template != "":
        made.chat_template = template
    return made


def codec(path: Path, made: Any = None, **settings: int) -> PromptCodec:
    lengths = {"model.max_length": 512, "sampling.max_tokens": 96} | settings
    config = load_config(overrides=[f"prompts={path}", *(f"{name}={value}" for name, value in lengths.items())])
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
            "enable_thnking is no argument of the model's",
        ),
        ({"template_arguments": {"tokenize": True}}, "{{ tokenize }}", "tokenize is no argument of the model's chat template"),
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
    for made in (tokenizer(), tokenizer(None)):
        config = load_config(overrides=[f"prompts=conf/prompts/{name}.yaml", "model.max_length=2048"])
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


# --- examples drawn for each prompt


def drawing(path: Path, round_: int = 1, previous: Path | None = None, seed: int = 0, **settings: int) -> ChallengerPrompts:
    made = codec(path, **settings)
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
