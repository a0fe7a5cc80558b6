"""From prompts to token ids, the one place where the chat template is applied."""

from typing import Any

from conf.load import ConfigError
from conf.schema import Config
from pipeline.domain.problems import Problem
from pipeline.domain.prompts import Prompts
from pipeline.domain.set_prompts import set_messages
from pipeline.domain.sets import BenchmarkSet


class PromptCodec:
    """Renders the two roles' prompts with the model's chat template, or as plain text where the model has none."""

    def __init__(self, config: Config, prompts: Prompts, tokenizer: Any, asks_validity: bool = False) -> None:
        self._prompts = prompts
        self._asks_validity = asks_validity
        self._tokenizer = tokenizer
        self._length, self._answer = config.model.max_length, config.sampling.max_tokens
        self._room = self._length - self._answer
        self.challenger = self._encode(prompts.challenger_messages())

    def solver(self, question: str) -> tuple[int, ...]:
        """Token ids of the Solver's prompt for a question."""
        return self._encode(self._prompts.solver_messages(question))

    def validity(self, question: str) -> tuple[int, ...]:
        """Token ids of the prompt that asks the Solver whether a question is well-posed."""
        return self._encode(self._prompts.validity_messages(question))

    def fits(self, question: str) -> bool:
        """Whether the Solver's prompts for this question leave room for the longest answer."""
        prompts = [self.solver(question)] + [self.validity(question)] * self._asks_validity
        return all(len(prompt) <= self._room for prompt in prompts)

    def problem(self, definition: BenchmarkSet, problem: Problem) -> tuple[int, ...]:
        """Token ids of the prompt that puts a held-out problem to the Solver."""
        return self._encode(set_messages(definition, problem, self._prompts))

    def check(self) -> None:
        """
        Raises:
            ConfigError: the Challenger's prompt leaves less than `max_tokens` for the response.
        """
        if (length := len(self.challenger)) > self._room:
            raise ConfigError(
                f"model.max_length={self._length}: the Challenger's prompt takes {length} tokens, and sampling.max_tokens="
                f"{self._answer} are for the response; valid: {length + self._answer} or more, where the model has as many."
            )

    def _encode(self, messages: list[dict[str, str]]) -> tuple[int, ...]:
        if self._tokenizer.chat_template:
            text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            return tuple(self._tokenizer.encode(text, add_special_tokens=False))
        return tuple(self._tokenizer.encode("\n\n".join(message["content"] for message in messages) + "\n"))
