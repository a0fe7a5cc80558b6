"""From prompts to token ids: the only place that applies the chat template."""

from typing import Any

from jinja2 import TemplateError

from conf.load import ConfigError
from conf.schema import Config
from pipeline.domain.problems import Problem
from pipeline.domain.prompts import Prompts, parse_question
from pipeline.domain.set_prompts import set_messages
from pipeline.domain.sets import BenchmarkSet


class PromptCodec:
    """Renders the two roles' prompts with the model's chat template, or as plain text if the model has none."""

    def __init__(self, config: Config, prompts: Prompts, tokenizer: Any, asks_validity: bool = False) -> None:
        self._prompts, self._path = prompts, config.prompts
        self._asks_validity = asks_validity
        self._tokenizer = tokenizer
        # Chat templates may use special tokens without a named role, such as <|im_start|>, which are among the added tokens.
        added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
        self._special_tokens = frozenset(added | set(tokenizer.all_special_tokens)) - {""}
        self._length, self._answer = config.model.max_length, config.sampling.max_tokens
        self._room = self._length - self._answer
        self.challenger = self._encode(prompts.challenger_messages())

    def question(self, response: str) -> str | None:
        """The question of a well-formed Challenger response; None for any other."""
        return parse_question(response, self._special_tokens, self._prompts.text)

    def solver(self, question: str) -> tuple[int, ...]:
        """Token ids of the Solver's prompt for a question."""
        return self._encode(self._prompts.solver_messages(question))

    def validity(self, question: str) -> tuple[int, ...]:
        """Token ids of the prompt that asks the Solver whether a question is well-posed."""
        return self._encode(self._prompts.validity_messages(question))

    def fits(self, question: str) -> bool:
        """Whether the Solver's prompts for this question leave room for the longest response."""
        prompts = [self.solver(question)] + [self.validity(question)] * self._asks_validity
        return all(len(prompt) <= self._room for prompt in prompts)

    def problem(self, definition: BenchmarkSet, problem: Problem) -> tuple[int, ...]:
        """Token ids of the Solver's prompt for a held-out problem."""
        return self._encode(set_messages(definition, problem, self._prompts))

    def check(self) -> None:
        """
        Raises:
            ConfigError: a prompt leaves less than `max_tokens` for the response, or the model's chat template rejects it.
        """
        for name, prompt in {"the Challenger's prompt": self.challenger, "the Solver's prompt": self.solver("")}.items():
            if len(prompt) > self._room:
                raise ConfigError(
                    f"model.max_length={self._length}: {name} takes {len(prompt)} tokens, and sampling.max_tokens={self._answer} "
                    f"are for the response; valid: {len(prompt) + self._answer} or more, if the model has as many positions."
                )

    def _encode(self, messages: list[dict[str, str]]) -> tuple[int, ...]:
        if self._tokenizer.chat_template:
            try:
                text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            except TemplateError as error:
                raise ConfigError(
                    f"prompts={self._path}: the model's chat template rejects them: {error}; valid: prompts whose `system` "
                    "is null, if the template has no system message."
                ) from error
            return tuple(self._tokenizer.encode(text, add_special_tokens=False, verbose=False))
        return tuple(self._tokenizer.encode("\n\n".join(message["content"] for message in messages) + "\n", verbose=False))
