"""Where a response ends, and the text of its tokens."""

from collections.abc import Sequence
from typing import Any

from pipeline.types import Request


def end_of_sequence_ids(llm: Any, tokenizer: Any) -> list[int]:
    """Tokens that end a response: the model's, the tokenizer's and the chat template's, which differ on some base models."""
    ids = llm.model_config.try_get_generation_config().get("eos_token_id") or []
    ids = {ids} if isinstance(ids, int) else set(ids)
    return sorted(ids | ({tokenizer.eos_token_id, turn_end(tokenizer)} - {None}))


def turn_end(tokenizer: Any) -> int | None:
    """The special token by which the chat template ends a response, if there is one: `<|im_end|>` for Qwen3."""
    if not tokenizer.chat_template:
        return None
    turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "response"}]
    after = tokenizer.apply_chat_template(turns, tokenize=False).rpartition("response")[2]
    ids = tokenizer.encode(after.lstrip(), add_special_tokens=False)
    known = tokenizer.added_tokens_decoder
    return ids[0] if ids and ids[0] in known and known[ids[0]].special else None


def decode(tokenizer: Any, request: Request, token_ids: Sequence[int]) -> str:
    """The text of a response's tokens. After a prefill it keeps its leading space, which some tokenizers drop from a text."""
    before = list(request.prompt_ids[-1:]) if request.prefill else []
    text: str = tokenizer.decode([*before, *token_ids], skip_special_tokens=False)
    return text.removeprefix(tokenizer.decode(before, skip_special_tokens=False)) if before else text


def before_stop(text: str, stop: Sequence[str]) -> str:
    """The text before the first stop string.

    >>> before_stop("A. B! C.", ("!", "C"))
    'A. B'
    """
    return text[: min((at for each in stop if (at := text.find(each)) >= 0), default=len(text))]
