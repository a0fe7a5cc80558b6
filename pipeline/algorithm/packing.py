"""Packing: whole sequences of any length concatenated in one row, so that no compute is spent on padding.

All layers but attention treat tokens independently and need no change; attention is computed within each sequence
(`packed_attention`), and positions restart at each. So a sequence's log-probabilities do not depend on its neighbours, and no
[tokens, tokens] mask is ever built.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from pipeline.algorithm.memory import CHUNK_LOGITS, CHUNK_LOGITS_CUDA
from pipeline.types import Sample

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ATTENTION = "packed"

# Sequences attend in blocks padded to their longest; a sequence shorter than this share of it starts a new block.
BLOCK_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class PackedRow:
    """One micro-batch: the sequences `members` (indices into the batch) in one row of T tokens with R response tokens.

    A sequence's inputs are prompt + response without the last token, which has no target.
    `sequence[r]` is the index into `members` of response token r.
    """

    members: tuple[int, ...]
    lengths: tuple[int, ...]  # input tokens of each member; sum T
    input_ids: Tensor  # [1, T]
    position_ids: Tensor  # [1, T]
    predictors: Tensor  # [R]: row positions whose output predicts a response token
    targets: Tensor  # [R]: the response tokens
    sequence: Tensor  # [R]


def assign_rows(lengths: Sequence[int], budget: int, ranks: int) -> list[list[list[int]]]:
    """Splits a batch into rows of at most `budget` tokens, the same number for every rank and of nearly equal size.

    Longest first, each sequence goes into the emptiest row (LPT scheduling), with the fewest rows that fit. Rows that run at the
    same time on different ranks are of similar size. A sequence longer than the budget has its own row.
    Deterministic, so that every rank computes the same plan.

    Returns:
        For each rank its rows, as lists of indices into `lengths`, longest first; rows are empty if there are too few sequences.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    count = ranks * max(1, math.ceil(sum(min(length, budget) for length in lengths) / (budget * ranks)))
    while True:
        rows: list[list[int]] = [[] for _ in range(count)]
        loads = [0] * count
        for i in order:
            emptiest = loads.index(min(loads))
            rows[emptiest].append(i)
            loads[emptiest] += lengths[i]
        if all(load <= budget or len(row) == 1 for load, row in zip(loads, rows, strict=True)):
            break
        count += ranks
    by_load = sorted(range(count), key=lambda r: -loads[r])
    return [[rows[r] for r in by_load[rank::ranks]] for rank in range(ranks)]


def pack_row(samples: Sequence[Sample], members: Sequence[int], device: torch.device | str = "cpu") -> PackedRow:
    """The row of `samples[i] for i in members`. Without members, the row is one token without a target, so that all ranks run it.

    Raises:
        ValueError: a sample has an empty prompt or response.
    """
    inputs, predictors, lengths = [], [], []
    for i in members:
        sample = samples[i]
        if not sample.prompt_ids or not sample.token_ids:
            raise ValueError(f"sample {i} of the batch has an empty prompt or response")
        tokens = (sample.prompt_ids + sample.token_ids)[:-1]
        inputs.append(tokens)
        lengths.append(len(tokens))
        end = sum(lengths)
        predictors.append(range(end - len(sample.token_ids), end))
    if not members:
        inputs, lengths = [(0,)], [1]

    def row(values: Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor(list(chain.from_iterable(values)), dtype=torch.long, device=device)

    return PackedRow(
        members=tuple(members),
        lengths=tuple(lengths),
        input_ids=row(inputs)[None],
        position_ids=row([range(length) for length in lengths])[None],
        predictors=row(predictors),
        targets=row([samples[i].token_ids for i in members]),
        sequence=row([[place] * len(samples[i].token_ids) for place, i in enumerate(members)]),
    )


def attention_blocks(lengths: Sequence[int]) -> list[list[int]]:
    """Blocks of consecutive lengths that are padded to the longest of the block for attention.

    >>> attention_blocks([100, 90, 80, 40, 35, 10])
    [[100, 90, 80], [40, 35], [10]]
    """
    blocks: list[list[int]] = []
    for length in lengths:
        if blocks and BLOCK_SHARE * max(blocks[-1]) <= length <= max(blocks[-1]):
            blocks[-1].append(length)
        else:
            blocks.append([length])
    return blocks


def flash(query: Tensor) -> bool:
    """Whether `varlen_attn`, FlashAttention over a whole row at once, takes these tensors: half precision on NVIDIA's Ampere or
    newer, heads of at most 256."""
    return (
        query.is_cuda
        and torch.version.hip is None
        and query.dtype in (torch.bfloat16, torch.float16)
        and query.shape[-1] <= 256
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
    )


def flash_attention(query: Tensor, key: Tensor, value: Tensor, lengths: tuple[int, ...], scaling: float) -> Tensor:
    """What `padded_attention` computes, without padding."""
    from torch.nn.attention.varlen import varlen_attn

    ends = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=query.device)
    q, k, v = (x[0].transpose(0, 1).contiguous() for x in (query, key, value))
    attended = varlen_attn(q, k, v, ends, ends, max(lengths), max(lengths), scale=scaling, window_size=(-1, 0), enable_gqa=True)
    assert isinstance(attended, Tensor)
    return attended[None]


def padded_attention(query: Tensor, key: Tensor, value: Tensor, lengths: tuple[int, ...], scaling: float) -> Tensor:
    """Causal attention within each sequence of a row; shapes as in `packed_attention`.

    Sequences of similar length are right-padded and attend as a batch; with a causal mask no real token attends to the padding,
    so kernels for plain causal attention apply, on CPU and GPU alike.
    """
    outputs, start = [], 0
    for block in attention_blocks(lengths):
        stop = start + sum(block)
        q, k, v = (
            pad_sequence(x[0, :, start:stop].transpose(0, 1).split(block), batch_first=True).transpose(1, 2)
            for x in (query, key, value)
        )
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=True).transpose(
            1, 2
        )
        outputs += [attended[i, :length] for i, length in enumerate(block)]
        start = stop
    return torch.cat(outputs)[None]


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    lengths: tuple[int, ...],
    scaling: float,
    sliding_window: int | None = None,
    **unused: object,
) -> tuple[Tensor, None]:
    """Causal attention within each sequence of a row: an attention function for transformers models.

    Args:
        query [1, H, T, D]; key, value [1, H or fewer, T, D]. lengths: `PackedRow.lengths`, passed through the model's forward.

    Returns:
        [1, T, H, D], and None for the attention weights.

    Raises:
        ValueError: the model uses sliding-window attention.
    """
    if sliding_window is not None:
        raise ValueError("packed attention does not support a sliding window; use a model with full attention")
    attend = flash_attention if flash(query) else padded_attention
    return attend(query, key, value, lengths, scaling), None


def register_packed_attention() -> None:
    """Lets transformers models be loaded with `attn_implementation=ATTENTION`."""
    from transformers import AttentionInterface  # takes seconds to import; only a model's process needs it

    AttentionInterface.register(ATTENTION, packed_attention)


class ChunkedLogprobs(torch.autograd.Function):
    """log softmax(h W^T / temperature) at the targets. Holds logits of `size` positions, recomputed in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, size: int
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(hidden, weight, targets)
        ctx.temperature, ctx.size = temperature, size
        logprobs, entropies = [], []
        for part, wanted in zip(hidden.split(size), targets.split(size), strict=True):
            everything = all_logprobs(part, weight, temperature)
            logprobs.append(everything.gather(-1, wanted[:, None])[:, 0])
            entropies.append(-torch.linalg.vecdot(everything.exp(), everything))
            del everything  # before the next allocation
        entropy = torch.cat(entropies)
        ctx.mark_non_differentiable(entropy)
        return torch.cat(logprobs), entropy

    @staticmethod
    def backward(ctx: Any, slopes: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, targets = ctx.saved_tensors
        of_hidden, of_weight = [], None
        for part, wanted, slope in zip(*(x.split(ctx.size) for x in (hidden, targets, slopes)), strict=True):
            everything = all_logprobs(part, weight, ctx.temperature)
            of_logits = torch.zeros_like(everything).scatter_(1, wanted[:, None], slope[:, None])
            of_logits = torch.ops.aten._log_softmax_backward_data(of_logits, everything, -1, torch.float32)
            del everything
            of_logits = of_logits.div_(ctx.temperature).to(part.dtype)
            of_hidden.append(of_logits @ weight)
            if ctx.needs_input_grad[1]:  # the weight is frozen with LoRA
                product = of_logits.T @ part
                # Summed in fp32, since in bf16 each addition would round.
                of_weight = product.float() if of_weight is None else of_weight.add_(product)
            del of_logits
        return torch.cat(of_hidden), None if of_weight is None else of_weight.to(weight.dtype), None, None, None


def all_logprobs(hidden: Tensor, weight: Tensor, temperature: float) -> Tensor:
    """hidden [R, h], weight [V, h] -> [R, V], float32."""
    return functional.linear(hidden, weight).float().div_(temperature).log_softmax(dim=-1)


class LogprobHead(nn.Module):
    """A language model's output layer that computes log-probabilities of given tokens without holding all logits."""

    def __init__(self, weight: nn.Parameter, temperature: float) -> None:
        super().__init__()
        self.weight = weight  # [V, h]: the embedding if tied
        self.temperature = temperature

    def forward(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """hidden [R, h], targets [R] -> log-probabilities of the targets [R] and entropies [R] (no gradient), float32."""
        logits = CHUNK_LOGITS_CUDA if hidden.is_cuda else CHUNK_LOGITS
        size = max(1, logits // self.weight.shape[0])
        return ChunkedLogprobs.apply(hidden, self.weight, targets, self.temperature, size)


class PolicyModel(nn.Module):
    """A causal language model that maps a `PackedRow` to its response tokens' log-probabilities at the sampling temperature.

    Parameters keep the names of the HF checkpoint.

    Args:
        language_model: loaded with `attn_implementation=ATTENTION`; it must have a `model` and a bias-free `lm_head`.
    """

    def __init__(self, language_model: "PreTrainedModel", temperature: float) -> None:
        super().__init__()
        self.config = language_model.config
        self.model: nn.Module = language_model.model
        self.lm_head = LogprobHead(language_model.lm_head.weight, temperature)

    def forward(self, row: PackedRow) -> tuple[Tensor, Tensor]:
        """See `LogprobHead.forward`: log-probabilities [R] and entropies [R]."""
        output = self.model(input_ids=row.input_ids, position_ids=row.position_ids, use_cache=False, lengths=row.lengths)
        return self.lm_head(output.last_hidden_state[0, row.predictors], row.targets)
