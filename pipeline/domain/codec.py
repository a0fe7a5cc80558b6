"""From prompts to token ids: the only place that applies the chat template."""

import inspect
import re
from collections.abc import Sequence
from typing import Any, Literal

from jinja2 import TemplateError

from conf.errors import ConfigError
from conf.schema import Config
from pipeline.domain.problems import Problem
from pipeline.domain.prompts import Example, ExampleSource, Prompt, Prompts, as_response, parse_question
from pipeline.domain.set_prompts import set_messages
from pipeline.domain.sets import BenchmarkSet
from pipeline.types import EncodedPrompt

PromptRole = Literal["challenger", "solver", "validity"]


class PromptCodec:
    """Renders the roles' prompts with the model's chat template, or as plain text, and reads the Challenger's responses."""

    def __init__(self, config: Config, prompts: Prompts, tokenizer: Any, asks_validity: bool = False) -> None:
        self._prompts, self._path = prompts, config.prompts
        self._by_role: dict[PromptRole, Prompt] = {
            "challenger": prompts.challenger,
            "solver": prompts.solver,
            "validity": prompts.validity,
        }
        self._asks_validity = asks_validity
        self._tokenizer = tokenizer
        # Chat templates may use special tokens without a named role, such as <|im_start|>, which are among the added tokens.
        added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
        self._special_tokens = frozenset(added | set(tokenizer.all_special_tokens)) - {""}
        self._length, self._answer = config.model.max_length, config.sampling.max_tokens
        self._room = self._length - self._answer

    def challenger(self, drawn: Sequence[Example] = ()) -> EncodedPrompt:
        """The Challenger's prompt, with the examples drawn for it; the last of them are left out until it fits."""
        for count in range(len(drawn), 0, -1):
            prompt = self._encode("challenger", self._prompts.challenger_messages(drawn[:count]))
            if len(prompt) <= self._room:
                return prompt
        return self._encode("challenger", self._prompts.challenger_messages())

    @property
    def for_base(self) -> bool:
        return self._prompts.for_base

    @property
    def example_source(self) -> ExampleSource | None:
        """Where the Challenger's prompts draw their examples from; None if they are all the same."""
        return self._prompts.challenger.source

    def question(self, response: str, prompt_ids: Sequence[int] = ()) -> str | None:
        """The question of a well-formed Challenger response to the prompt with these ids; None for any other."""
        shown = self._prompts.text
        if self.example_source is not None:  # the prompt has examples of its own
            shown += "\n" + self._tokenizer.decode(list(prompt_ids), clean_up_tokenization_spaces=False)
        return parse_question(response, self._special_tokens, shown, self._prompts.challenger.prefill)

    def can_show(self, example: Example) -> bool:
        """Whether an example can be part of a prompt: its question and answer are well-formed."""
        return parse_question(as_response(example.question, example.answer or "1"), self._special_tokens) is not None

    def solver(self, question: str) -> EncodedPrompt:
        """The Solver's prompt for a question."""
        return self._encode("solver", self._prompts.solver_messages(question))

    def validity(self, question: str) -> EncodedPrompt:
        """The prompt that asks the Solver whether a question is well-posed."""
        return self._encode("validity", self._prompts.validity_messages(question))

    def fits(self, question: str) -> bool:
        """Whether the Solver's prompts for this question leave room for the longest response."""
        prompts = [self.solver(question)] + [self.validity(question)] * self._asks_validity
        return all(len(prompt) <= self._room for prompt in prompts)

    def problem(self, definition: BenchmarkSet, problem: Problem) -> EncodedPrompt:
        """The Solver's prompt for a held-out problem."""
        return self._encode("solver", set_messages(definition, problem, self._prompts))

    def check(self) -> None:
        """
        Raises:
            ConfigError: a prompt leaves less than `max_tokens` for the response, the model's chat template is missing or rejects
                it, or an example contains special tokens.
        """
        roles: tuple[PromptRole, ...] = ("challenger", "solver", "validity") if self._asks_validity else ("challenger", "solver")
        for role in roles:
            self._check_template_arguments(role)
        prompts = {"the Challenger's prompt": self.challenger(), "the Solver's prompt": self.solver("")}
        if self._asks_validity:
            prompts["the prompt for verdicts"] = self.validity("")
        for name, prompt in prompts.items():
            if len(prompt) > self._room:
                raise ConfigError(
                    f"model.max_length={self._length}: {name} takes {len(prompt)} tokens, and sampling.max_tokens={self._answer} "
                    f"are for the response; valid: {len(prompt) + self._answer} or more, if the model has as many positions."
                )
        for example in self.example_source.questions if self.example_source else ():
            if not self.can_show(example):
                raise ConfigError(
                    f"prompts={self._path}: challenger.examples.file: {example.question!r:.100} contains a special token of the "
                    "model's tokenizer; valid: questions and answers without."
                )

    def _check_template_arguments(self, role: PromptRole) -> None:
        """Raises ConfigError for arguments that the chat template does not use, or that the tokenizer's own call has."""
        arguments = self._by_role[role].template_arguments
        if not arguments:
            return
        if not self._in_chat(role):
            raise self._error(role, "template_arguments are given, but the model's tokenizer has no chat template; valid: none.")
        reserved = inspect.signature(self._tokenizer.apply_chat_template).parameters
        for name in arguments:
            if name in reserved or not re.search(rf"\b{name}\b", self._tokenizer.get_chat_template()):
                raise self._error(role, f"template_arguments: the model's chat template has no {name}; valid: its variables.")

    def _in_chat(self, role: PromptRole) -> bool:
        """Whether a role's prompts go through the model's chat template."""
        template = self._by_role[role].template
        if template == "chat" and not self._tokenizer.chat_template:
            raise self._error(role, "template=chat, but the model's tokenizer has no chat template; valid: plain.")
        return template != "plain" and bool(self._tokenizer.chat_template)

    def _encode(self, role: PromptRole, messages: list[dict[str, str]]) -> EncodedPrompt:
        prompt = self._by_role[role]
        in_chat = self._in_chat(role)
        text = (self._chat(prompt, messages) if in_chat else _plain(messages)) + prompt.prefill
        ids = self._tokenizer.encode(text, add_special_tokens=not in_chat, verbose=False)
        return EncodedPrompt(tuple(ids), prompt.prefill, prompt.stop)

    def _chat(self, prompt: Prompt, messages: list[dict[str, str]]) -> str:
        try:
            text: str = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, **prompt.template_arguments
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise ConfigError(
                f"prompts={self._path}: the model's chat template rejects them: {error}; valid: prompts whose `system` "
                "is null, if the template has no system message."
            ) from error
        return text

    def _error(self, role: PromptRole, message: str) -> ConfigError:
        return ConfigError(f"prompts={self._path}: {role}.{message}")


def _plain(messages: list[dict[str, str]]) -> str:
    """The messages as paragraphs; a response is in the paragraph of its user message, on a new line."""
    return "".join(message["content"] + ("\n" if message["role"] == "user" else "\n\n") for message in messages)
