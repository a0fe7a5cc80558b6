"""From prompts to token ids, the one place where the chat template is applied."""

from collections.abc import Iterable
from typing import Any

from jinja2 import TemplateError

from conf.load import ConfigError
from conf.schema import Config
from pipeline.domain.prompts import Prompts, parse_question


class PromptCodec:
    """Renders the two roles' prompts with the model's chat template, or as plain text where the model has none."""

    def __init__(self, config: Config, prompts: Prompts, tokenizer: Any) -> None:
        self._prompts, self._path = prompts, config.prompts
        self._asks_validity = "validity" in config.reward.scorers
        self._tokenizer = tokenizer
        # Chat templates may use tokens that have no role of their own, such as <|im_start|>: they are among the added ones.
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
        """Whether the Solver's prompts for this question leave room for the longest answer."""
        prompts = [self.solver(question)] + [self.validity(question)] * self._asks_validity
        return all(len(prompt) <= self._room for prompt in prompts)

    def check(self, questions: Iterable[str]) -> None:
        """
        Raises:
            ConfigError: the Challenger's prompt, or the Solver's for one of these questions, leaves less than `max_tokens`, or
                is refused by the model's chat template.
        """
        prompts = {"the Challenger's prompt": self.challenger, "the Solver's prompt": self.solver("")}
        prompts |= {f"the Solver's prompt for {question[:60]!r}": self.solver(question) for question in questions}
        name, longest = max(prompts.items(), key=lambda prompt: len(prompt[1]))
        if len(longest) > self._room:
            raise ConfigError(
                f"model.max_length={self._length}: {name} takes {len(longest)} tokens, and sampling.max_tokens={self._answer} "
                f"are for the response; valid: {len(longest) + self._answer} or more, where the model has as many."
            )

    def _encode(self, messages: list[dict[str, str]]) -> tuple[int, ...]:
        if self._tokenizer.chat_template:
            try:
                text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            except TemplateError as error:
                raise ConfigError(
                    f"prompts={self._path}: the model's chat template does not take them: {error}; valid: prompts whose "
                    "`system` is null, where the template knows no system message."
                ) from error
            return tuple(self._tokenizer.encode(text, add_special_tokens=False))
        return tuple(self._tokenizer.encode("\n\n".join(message["content"] for message in messages) + "\n"))
