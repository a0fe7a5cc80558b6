import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

import pipeline.algorithm.packing as packing
from jobs.bench.common import in_new_process
from jobs.bench.learner_memory import logprob_peak
from pipeline.algorithm.packing import ATTENTION, PolicyModel, assign_rows, attention_blocks, pack_row, register_packed_attention
from pipeline.types import Sample

SIZES = dict(
    vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
)
CONFIGS = {
    "qwen3-tied": Qwen3Config(**SIZES, head_dim=32, tie_word_embeddings=True),
    "llama-untied": LlamaConfig(**SIZES, tie_word_embeddings=False),
}


@pytest.fixture(params=CONFIGS, scope="module")
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """Random weights, far enough from zero that attention matters."""
    torch.manual_seed(0)
    config = CONFIGS[request.param]
    made = (Qwen3ForCausalLM if isinstance(config, Qwen3Config) else LlamaForCausalLM)(config).eval()
    for parameter in made.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.15)
    return made


def draw_samples(sizes: list[tuple[int, int]]) -> list[Sample]:
    g = torch.Generator().manual_seed(2)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, 64, (count,), generator=g).tolist())

    return [Sample(tokens(p), tokens(r), (0.0,) * r, "", "stop", "v", 0) for p, r in sizes]


SAMPLES = draw_samples([(4, 30), (1, 1), (9, 12), (2, 40), (5, 3), (3, 33), (12, 28), (1, 7)])


def alone(model: PreTrainedModel, sample: Sample, temperature: float) -> torch.Tensor:
    """Log-probabilities of one sample by transformers' own forward pass: [R]."""
    ids = torch.tensor([sample.prompt_ids + sample.token_ids])
    model.set_attn_implementation("sdpa")
    logits = model(ids).logits[0, len(sample.prompt_ids) - 1 : -1] / temperature
    return logits.log_softmax(-1).gather(-1, torch.tensor(sample.token_ids)[:, None])[:, 0]


def packed(model: PreTrainedModel, members: list[int], temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    register_packed_attention()
    model.set_attn_implementation(ATTENTION)
    return PolicyModel(model, temperature)(pack_row(SAMPLES, members))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_equal_transformers_whatever_the_neighbours(model: PreTrainedModel, temperature: float) -> None:
    with torch.no_grad():
        expected = [alone(model, sample, temperature) for sample in SAMPLES]
        for members in ([0], [1, 0], [0, 2, 3, 4, 5, 6, 7, 1], [3, 5, 0, 6, 2, 7, 4, 1]):
            got, entropy = packed(model, members, temperature)
            torch.testing.assert_close(got, torch.cat([expected[i] for i in members]), rtol=0, atol=2e-5)
            assert entropy.shape == got.shape
            assert (entropy > 0).all()


def test_a_sequence_gives_no_gradient_to_its_neighbours(model: PreTrainedModel) -> None:
    register_packed_attention()
    model.set_attn_implementation(ATTENTION)
    policy = PolicyModel(model, 1.0)
    row = pack_row(SAMPLES, [3, 5, 0])
    seen: list[torch.Tensor] = []
    hook = policy.model.embed_tokens.register_forward_hook(lambda _m, _i, out: (out.retain_grad(), seen.append(out))[0])
    logprobs, _ = policy(row)
    logprobs[row.sequence == 1].sum().backward()
    hook.remove()
    policy.zero_grad()
    (embedded,) = seen
    touched = embedded.grad[0].abs().sum(-1) > 0
    first = row.lengths[0]
    assert touched[first : first + row.lengths[1]].all()
    assert not touched[:first].any()
    assert not touched[first + row.lengths[1] :].any()


def test_gradient_equals_transformers(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """With logits made in chunks of five positions and recomputed in the backward pass."""
    monkeypatch.setattr(packing, "CHUNK_LOGITS", 5 * 64)
    model.zero_grad()
    sum(alone(model, sample, 0.9).sum() for sample in SAMPLES).backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    packed(model, list(range(len(SAMPLES))), 0.9)[0].sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-4)


def test_entropy(model: PreTrainedModel) -> None:
    with torch.no_grad():
        _, entropy = packed(model, [2], 0.7)
        model.set_attn_implementation("sdpa")
        sample = SAMPLES[2]
        logits = model(torch.tensor([sample.prompt_ids + sample.token_ids])).logits[0, len(sample.prompt_ids) - 1 : -1]
        expected = torch.distributions.Categorical(logits=logits / 0.7).entropy()
    torch.testing.assert_close(entropy, expected, rtol=1e-4, atol=1e-4)


def test_policy_keeps_the_checkpoint_names(model: PreTrainedModel) -> None:
    assert dict(PolicyModel(model, 1.0).named_parameters()).keys() == dict(model.named_parameters()).keys()


def test_logits_of_the_whole_batch_never_exist(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "CHUNK_LOGITS", 16 * 64)
    made: list[int] = []
    linear = torch.nn.functional.linear

    def spy(x: torch.Tensor, weight: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        if weight.shape[0] == 64 and x.ndim == 2:
            made.append(len(x))
        return linear(x, weight, *rest)

    monkeypatch.setattr(packing.functional, "linear", spy)
    packed(model, [0, 2, 3, 5, 6], 1.0)
    assert sum(made) == sum(len(SAMPLES[i].token_ids) for i in (0, 2, 3, 5, 6))
    assert max(made) == 16


def test_memory_of_the_logits_does_not_grow_with_the_tokens() -> None:
    """At a vocabulary of 150,000, forward and backward, as peaks of new processes."""
    whole, chunked, chunked_twice = (in_new_process(logprob_peak, *case) for case in [(False, 1024), (True, 1024), (True, 2048)])
    logits = 1024 * 150_000 * 4
    assert whole > 2 * logits
    assert chunked < logits
    assert chunked_twice - chunked < 0.1 * logits


def test_a_row_without_members_keeps_the_graph(model: PreTrainedModel) -> None:
    model.zero_grad()
    logprobs, entropy = packed(model, [], 1.0)
    assert logprobs.shape == entropy.shape == (0,)
    logprobs.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_row_layout() -> None:
    samples = [Sample((1, 2), (3, 4), (0.0, 0.0), "", "stop", "v", 0), Sample((5,), (6, 7, 8), (0.0,) * 3, "", "stop", "v", 0)]
    row = pack_row(samples, [1, 0])
    assert row.input_ids.tolist() == [[5, 6, 7, 1, 2, 3]]
    assert row.position_ids.tolist() == [[0, 1, 2, 0, 1, 2]]
    assert row.predictors.tolist() == [0, 1, 2, 4, 5]
    assert row.targets.tolist() == [6, 7, 8, 3, 4]
    assert row.sequence.tolist() == [0, 0, 0, 1, 1]
    assert row.lengths == (3, 3)


def test_empty_responses_are_refused() -> None:
    with pytest.raises(ValueError, match="sample 1"):
        pack_row([SAMPLES[0], Sample((1,), (), (), "", "stop", "v", 0)], [0, 1])


def test_sliding_window_is_refused() -> None:
    config = Qwen3Config(**SIZES, head_dim=32, use_sliding_window=True, sliding_window=4, max_window_layers=0)
    model = Qwen3ForCausalLM._from_config(config, attn_implementation=ATTENTION)
    with pytest.raises(ValueError, match="sliding window"):
        PolicyModel(model, 1.0)(pack_row(SAMPLES, [0]))


@given(st.lists(st.integers(1, 200), max_size=60), st.sampled_from([64, 128, 1000]), st.integers(1, 4))
def test_rows_hold_every_sequence_once_within_the_budget(lengths: list[int], budget: int, ranks: int) -> None:
    plan = assign_rows(lengths, budget, ranks)
    rows = [row for rank in plan for row in rank]
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    assert len({len(rank) for rank in plan}) == 1
    assert len(plan) == ranks
    assert all(len(row) == 1 or sum(lengths[i] for i in row) <= budget for row in rows)
    # Longest first, so that neighbours attend in one block.
    assert all(lengths[a] >= lengths[b] for row in rows for a, b in itertools.pairwise(row))


def test_rows_are_balanced_across_ranks() -> None:
    g = torch.Generator().manual_seed(3)
    lengths = torch.randint(20, 120, (128,), generator=g).tolist()
    plan = assign_rows(lengths, 2048, 2)
    for first, second in zip(*plan, strict=True):
        loads = [sum(lengths[i] for i in row) for row in (first, second)]
        assert max(loads) <= 1.02 * min(loads)
    assert len(plan[0]) * 2 <= sum(lengths) / 2048 + 2  # no row more than needed


def test_attention_blocks_cover_the_row() -> None:
    assert attention_blocks([100, 90, 80, 40, 35, 10]) == [[100, 90, 80], [40, 35], [10]]
    assert attention_blocks([5, 9]) == [[5], [9]]
    assert attention_blocks([]) == []


def reference_varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    ends_q: torch.Tensor,
    ends_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> torch.Tensor:
    """`torch.nn.attention.varlen.varlen_attn` by its documentation, which has no CPU kernel: [T, H, D], causal by its window."""
    assert window_size == (-1, 0)
    assert enable_gqa
    assert ends_q.dtype == ends_k.dtype == torch.int32
    outputs = []
    for start, stop in itertools.pairwise(ends_q.tolist()):
        assert stop - start <= max_q == max_k
        scores = torch.einsum("qhd,khd->hqk", query[start:stop], key[start:stop].repeat_interleave(2, 1)) * scale
        masked = scores.masked_fill(~torch.ones_like(scores, dtype=torch.bool).tril(), -torch.inf)
        outputs.append(torch.einsum("hqk,khd->qhd", masked.softmax(-1), value[start:stop].repeat_interleave(2, 1)))
    return torch.cat(outputs)


def test_the_flash_kernel_is_given_the_same_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    g = torch.Generator().manual_seed(0)
    lengths = (9, 8, 5, 1)
    q, k, v = (torch.randn(1, heads, sum(lengths), 8, generator=g, requires_grad=True) for heads in (4, 2, 2))
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", reference_varlen)
    padded, flash = (attend(q, k, v, lengths, 0.3) for attend in (packing.padded_attention, packing.flash_attention))
    torch.testing.assert_close(flash, padded)
    slope = torch.randn(padded.shape, generator=g)
    for a, b in zip(*(torch.autograd.grad(out, (q, k, v), slope) for out in (padded, flash)), strict=True):
        torch.testing.assert_close(a, b)
    assert not packing.flash(q)  # no kernel on a CPU
