"""Real Ray actors, real DeepSpeed on gloo, a small random model; two groups of ranks serve all tests."""

import json
import math
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from actors.cluster import ROOT
from actors.learner.group import LearnerGroup
from actors.learner.rank import Learner
from actors.weights.buckets import unpack
from conf.schema import Config
from jobs.bench.learner import draw_batch
from pipeline.errors import LearnerError, LearnerLostError
from pipeline.types import Sample, TrainingBatch

BASE = ROOT / "assets" / "tiny-base"
LR = 1e-3
STAGES = [0, 1, 2, 3]


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random Qwen3 whose weights are large enough for attention to matter, and some of them for ZeRO-3 to shard."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        tie_word_embeddings=True,
    )
    model = Qwen3ForCausalLM(config)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.1)
    path = tmp_path_factory.mktemp("learner") / "base"
    model.save_pretrained(path)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, unk_token="a")), unk_token="a")
    tokenizer.save_pretrained(path)
    return str(path)


def make_batch(seed: int, count: int = 8) -> TrainingBatch:
    g = torch.Generator().manual_seed(seed)

    def sample(prompt: int, response: int) -> Sample:
        tokens = torch.randint(0, 64, (prompt + response,), generator=g).tolist()
        logprobs = (-4.2 + 0.3 * torch.randn(response, generator=g)).tolist()
        return Sample(tuple(tokens[:prompt]), tuple(tokens[prompt:]), tuple(logprobs), "", "stop", "v", 0)

    samples = tuple(sample(3 + i % 4, 5 + 7 * i % 31) for i in range(count))
    return TrainingBatch(samples, tuple(torch.randn(count, generator=g).tolist()))


class Groups:
    """Learner groups by number of ranks, started when first asked for, with the settings of the test that asks.

    `lora` is the rank of the adapters. The actors record the whole gradient of each step, and one of them dies within a step when
    told to.
    """

    def __init__(self) -> None:
        self.running: dict[int, LearnerGroup] = {}

    def __call__(self, ranks: int, stage: int = 0, lora: int = 0, **learner: Any) -> LearnerGroup:
        config = Config()
        config.lora.rank = lora
        config.learner.ranks, config.learner.zero_stage = ranks, stage
        config.sampling.temperature = 0.8
        config.sampling.max_tokens = 40
        for name, value in learner.items():
            setattr(config.learner, name, value)
        group = self.running.setdefault(ranks, LearnerGroup(config))
        group.config = config
        return group


def probe() -> type[Learner]:
    """Made in a function, so that Ray sends the class itself: its workers cannot import this file."""

    class Probe(Learner):
        fatal = False

        def _step(self) -> dict[str, float]:
            from deepspeed.utils import safe_get_full_grad

            if self.fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            trained = [(name, p) for name, p in self.engine.module.named_parameters() if p.requires_grad]
            self.gradient = {name: safe_get_full_grad(p).clone() for name, p in trained}
            return super()._step()

        def last_gradient(self) -> dict[str, torch.Tensor]:
            return self.gradient

        def master_weights(self) -> dict[str, torch.Tensor]:
            from deepspeed.utils import safe_get_full_fp32_param

            return {name: safe_get_full_fp32_param(p).cpu() for name, p in self.engine.module.named_parameters()}

        def process_id(self) -> int:
            return os.getpid()

        def set_threads(self, threads: int) -> None:
            torch.set_num_threads(threads)

        def die_in_next_step(self) -> None:
            self.fatal = True

    return Probe


@pytest.fixture(scope="module")
def groups(ray_cluster: None) -> Iterator[Groups]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actors.learner.group.Learner", probe())
        made = Groups()
        yield made
        for group in made.running.values():
            group.shutdown()


def weights_of(group: LearnerGroup) -> dict[str, torch.Tensor]:
    published = group._call("publish")[0]
    return {name: tensor.clone() for bucket in published.buckets for name, tensor in unpack(ray.get(bucket))}


def same_bits(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def plain_logprobs(model: torch.nn.Module, sample: Sample, temperature: float) -> torch.Tensor:
    ids = torch.tensor([sample.prompt_ids + sample.token_ids])
    logits = model(ids).logits[0, len(sample.prompt_ids) - 1 : -1] / temperature
    return logits.log_softmax(-1).gather(-1, torch.tensor(sample.token_ids)[:, None])[:, 0]


@pytest.fixture(scope="module")
def plain_gradient(model_path: str) -> dict[str, torch.Tensor]:
    """The gradient of batch 1 by transformers alone, a sequence at a time: the policy gradient with truncated importance weights.

    On policy nothing is clipped, and the KL's gradient at the reference is zero.
    """
    model = AutoModelForCausalLM.from_pretrained(model_path)
    batch = make_batch(1)
    total = sum(len(sample.token_ids) for sample in batch.samples)
    for sample, advantage in zip(batch.samples, batch.advantages, strict=True):
        logprobs = plain_logprobs(model, sample, 0.8)
        importance = (logprobs.detach() - torch.tensor(sample.logprobs)).exp().clamp(max=2.0)
        (-(importance * advantage * logprobs).sum() / total).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_same_gradient_however_the_batch_is_split(
    groups: Groups, model_path: str, plain_gradient: dict[str, torch.Tensor], ranks: int, stage: int
) -> None:
    """One sequence a row with recomputed activations, or the whole batch in a row a rank; 1 and 2 ranks; every ZeRO stage."""
    norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in plain_gradient.values()))
    for budget, recompute in [(1, True), (8192, False)]:
        group = groups(ranks, stage, micro_batch_tokens=budget, gradient_checkpointing=recompute)
        group.begin_phase(model_path, LR)
        metrics = group.update(make_batch(1))
        for actor in group._ranks:
            gradient = ray.get(actor.last_gradient.remote())
            assert gradient.keys() == plain_gradient.keys()
            for name, expected in plain_gradient.items():
                torch.testing.assert_close(
                    gradient[name], expected, rtol=0, atol=1e-5, msg=lambda text, at=(name, budget): f"{at}: {text}"
                )
        assert metrics["grad_norm"] == pytest.approx(norm, rel=1e-4)
        assert metrics["kl"] == pytest.approx(0, abs=1e-7)
        assert metrics["skipped_updates"] == 0


def test_no_bit_depends_on_the_number_of_threads(groups: Groups) -> None:
    """The embedded base, whose embedding is large enough for torch to add up its norm in parts."""
    vocabulary = json.loads((BASE / "config.json").read_text())["vocab_size"]
    batches = [draw_batch(count, 48, 96, vocabulary, seed=count) for count in (60, 7)]
    group = groups(1)
    group.config.learner.max_grad_norm = 0.1  # clipped, so that the norm matters
    found = {}
    for threads in (1, 2, 4):
        group.begin_phase(str(BASE), LR)
        group._call("set_threads", threads)
        metrics = [group.update(batch) for batch in batches]
        found[threads] = metrics, weights_of(group)
    group._call("set_threads", 1)
    for threads in (2, 4):
        for first, other in zip(found[1][0], found[threads][0], strict=True):
            timed = {"seconds", "learner_tokens_per_s"}
            assert {name: value for name, value in first.items() if name not in timed} == {
                name: value for name, value in other.items() if name not in timed
            }
        assert same_bits(found[1][1], found[threads][1])
    assert found[1][0][0]["grad_norm"] > 0.1


def test_more_ranks_than_sequences(groups: Groups, model_path: str) -> None:
    """A rank without a sequence keeps step with the others and changes nothing."""
    batch = make_batch(5, count=1)
    metrics = {}
    for ranks in (1, 2):
        group = groups(ranks, 3)
        group.begin_phase(model_path, LR)
        metrics[ranks] = group.update(batch)
    for name in ("loss", "grad_norm", "entropy", "tokens", "mismatch_max"):
        assert metrics[2][name] == pytest.approx(metrics[1][name], rel=1e-5), name


def test_metrics(groups: Groups, model_path: str) -> None:
    group = groups(2)
    group.begin_phase(model_path, LR)
    batch = make_batch(1)
    before = np.array([x for logprobs in group.logprobs(batch.samples) for x in logprobs])
    metrics = group.update(batch)
    difference = before - np.array([x for sample in batch.samples for x in sample.logprobs])
    assert metrics["tokens"] == len(before)
    assert metrics["mismatch_max"] == pytest.approx(np.abs(difference).max(), rel=1e-4)
    assert metrics["mismatch_mean"] == pytest.approx(np.abs(difference).mean(), rel=1e-4)
    assert metrics["mismatch_kl"] == pytest.approx((np.exp(difference) - 1 - difference).mean(), rel=1e-4)
    assert metrics["importance_mean"] == pytest.approx(np.minimum(np.exp(difference), 2).mean(), rel=1e-4)
    assert metrics["ratio_outside"] == pytest.approx((np.abs(np.exp(difference) - 1) > 0.1).mean(), rel=1e-4)
    assert 0 < metrics["entropy"] < math.log(64)
    assert metrics["learner_tokens_per_s"] > 0
    assert group.update(batch)["kl"] > 0


@pytest.mark.parametrize(("ranks", "stage"), [(1, 0), (2, 3)])
def test_updates_on_one_batch_clip_around_its_start(groups: Groups, model_path: str, ranks: int, stage: int) -> None:
    """Three updates on one batch against a loop of transformers and torch alone, a sequence at a time; the clip binds."""
    group = groups(ranks, stage, micro_batch_tokens=100)
    group.config.grpo.updates_per_batch, group.config.grpo.kl = 3, 0.1
    group.begin_phase(model_path, LR)
    batch = make_batch(1)
    metrics = group.update(batch)

    model = AutoModelForCausalLM.from_pretrained(model_path)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.01)
    total = sum(len(sample.token_ids) for sample in batch.samples)
    with torch.no_grad():
        start = [plain_logprobs(model, sample, 0.8) for sample in batch.samples]  # old policy and reference in one
    clipped = []
    for _ in range(3):
        clipped.append(0)
        for sample, advantage, old in zip(batch.samples, batch.advantages, start, strict=True):
            logprobs = plain_logprobs(model, sample, 0.8)
            ratio = (logprobs - old).exp()
            objective = torch.min(ratio * advantage, ratio.clamp(0.8, 1.28) * advantage)
            importance = (old - torch.tensor(sample.logprobs)).exp().clamp(max=2.0)
            k3 = (old - logprobs).exp() - (old - logprobs) - 1
            ((-importance * objective + 0.1 * k3).sum() / total).backward()
            clipped[-1] += int((objective < ratio * advantage).sum())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    assert clipped[0] == 0 < clipped[1] < clipped[2]
    assert metrics["clip_fraction"] == pytest.approx(sum(clipped) / 3 / total, rel=0.02)
    assert metrics["tokens"] == total
    assert metrics["kl"] > 0
    for name, tensor in weights_of(group).items():
        torch.testing.assert_close(
            tensor, model.get_parameter(name).detach(), rtol=0, atol=2e-5, msg=lambda text, at=name: f"{at}: {text}"
        )


def test_updates_follow_the_advantages(groups: Groups, model_path: str) -> None:
    group = groups(1)
    group.begin_phase(model_path, LR)
    batch = make_batch(6)
    before = group.logprobs(batch.samples)
    for _ in range(5):
        group.update(batch)
    rise = [sum(b) - sum(a) for a, b in zip(before, group.logprobs(batch.samples), strict=True)]
    assert float(np.corrcoef(rise, batch.advantages)[0, 1]) > 0.7


def test_an_update_has_its_learning_rate_a_phase_its_reference_and_a_policy_a_share_of_its_start(
    groups: Groups, model_path: str, tmp_path: Path
) -> None:
    group, batch = groups(2, 3), make_batch(6)
    group.begin_phase(model_path, LR)
    before = weights_of(group)
    assert group.update(batch, 0.0)["kl"] == 0
    assert same_bits(before, weights_of(group))
    group.update(batch, LR)
    assert not same_bits(before, weights_of(group))
    group.export(str(tmp_path / "policy"), 0)
    group.begin_phase(str(tmp_path / "policy"), LR, reference=model_path)
    assert group.update(batch)["kl"] > 0
    start, end = load_file(tmp_path / "policy" / "model.safetensors"), weights_of(group)
    members = [str(tmp_path / name) for name in ("first", "second")]
    group.export(members[0], 0)
    group.update(batch)
    group.export(members[1], 0)
    group.update(batch)
    first, second, end = end, load_file(tmp_path / "second" / "model.safetensors"), weights_of(group)
    group.export(str(tmp_path / "policy"), 0, 0.25, members)
    averaged = load_file(tmp_path / "policy" / "model.safetensors")
    means = {name: (end[name] + first[name] + second[name]) / 3 for name in end}
    assert same_bits(averaged, {name: torch.lerp(means[name], start[name], 0.25) for name in end})
    assert not same_bits(averaged, end)
    assert same_bits(weights_of(group), end)


def test_empty_batch_changes_nothing(groups: Groups, model_path: str) -> None:
    group = groups(1)
    group.begin_phase(model_path, LR)
    before = weights_of(group)
    metrics = group.update(TrainingBatch((), (), dropped_groups=3))
    assert metrics.keys() == group.update(make_batch(1)).keys()
    assert metrics["tokens"] == metrics["skipped_updates"] == 0
    assert math.isnan(metrics["loss"])
    group.begin_phase(model_path, LR)
    assert same_bits(before, weights_of(group))


@pytest.mark.parametrize(
    ("ranks", "stage", "lora"), [(1, 0, 0), (2, 0, 0), (2, 1, 0), (2, 2, 0), (2, 3, 0), (1, 0, 4), (2, 2, 4), (2, 3, 4)]
)
def test_resumed_phase_equals_an_undisturbed_one(
    groups: Groups, model_path: str, tmp_path: Path, ranks: int, stage: int, lora: int
) -> None:
    group = groups(ranks, stage, lora, micro_batch_tokens=100)
    group.begin_phase(model_path, LR)
    group.update(make_batch(1))
    group.update(make_batch(2))
    group.save(str(tmp_path / "step-2"))
    saved = weights_of(group)
    group.update(make_batch(3))
    kl = group.update(make_batch(4))["kl"]
    undisturbed = weights_of(group)
    assert kl > 0
    assert not same_bits(saved, undisturbed)

    group.begin_phase(model_path, 5 * LR, resume_from=None)  # another history in between
    group.update(make_batch(9))
    group.begin_phase(model_path, LR, resume_from=str(tmp_path / "step-2"))
    assert same_bits(saved, weights_of(group))
    group.update(make_batch(3))
    assert group.update(make_batch(4))["kl"] == kl  # the reference is the phase's start, not the checkpoint
    assert same_bits(undisturbed, weights_of(group))
    assert [path.name for path in tmp_path.iterdir()] == ["step-2"]


@pytest.mark.parametrize(("ranks", "stage"), [(1, 1), (2, 0), (2, 2), (2, 3)])
def test_bad_gradients_are_skipped_and_poison_nothing(groups: Groups, model_path: str, ranks: int, stage: int) -> None:
    good = make_batch(1)
    bad = TrainingBatch(good.samples, (math.nan, *good.advantages[1:]))
    infinite = TrainingBatch(good.samples, (*good.advantages[:-1], math.inf))
    group = groups(ranks, stage, micro_batch_tokens=100)
    group.begin_phase(model_path, LR)
    group.update(good)
    group.update(make_batch(2))
    expected = weights_of(group)

    group.begin_phase(model_path, LR)
    group.update(good)
    before = weights_of(group)
    for batch in (bad, infinite):
        assert group.update(batch)["skipped_updates"] == 1
        assert same_bits(before, weights_of(group))
    assert group.update(make_batch(2))["skipped_updates"] == 0
    assert same_bits(expected, weights_of(group))
    group.config.grpo.updates_per_batch = 2  # of which the first is skipped and the second not tried
    assert group.update(bad)["skipped_updates"] == 1
    assert same_bits(expected, weights_of(group))


@pytest.mark.parametrize(("ranks", "stage"), [(1, 0), (2, 3)])
def test_export_loads_in_transformers(groups: Groups, model_path: str, tmp_path: Path, ranks: int, stage: int) -> None:
    group = groups(ranks, stage)
    group.begin_phase(model_path, LR)
    batch = make_batch(7)
    group.update(batch)
    for _ in range(2):  # the second replaces the first
        group.export(str(tmp_path / "policy"), 0)
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "policy", dtype="auto")
    assert AutoTokenizer.from_pretrained(tmp_path / "policy").get_vocab() == {"a": 0}
    sent = weights_of(group)
    assert sent.keys() == dict(model.named_parameters()).keys()
    assert same_bits(sent, dict(model.named_parameters()))
    with torch.no_grad():
        for sample, logprobs in zip(batch.samples, group.logprobs(batch.samples), strict=True):
            torch.testing.assert_close(torch.tensor(logprobs), plain_logprobs(model, sample, 0.8), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("ranks", "stage"), [(1, 0), (2, 2), (2, 3)])
def test_bfloat16_with_master_weights_in_float32(groups: Groups, model_path: str, tmp_path: Path, ranks: int, stage: int) -> None:
    """Steps far below bfloat16's resolution of the weights add up nevertheless, in a phase and over phases."""
    group = groups(ranks, stage)
    group.config.model.dtype = "bfloat16"
    group.begin_phase(model_path, 1e-6)
    start = weights_of(group)
    assert {tensor.dtype for tensor in start.values()} == {torch.bfloat16}
    batch = make_batch(8)
    for _ in range(3):
        group.update(batch)
    masters = group._call("master_weights")[0]

    def kept(weights: dict[str, torch.Tensor]) -> float:
        """How much of the masters' change `weights` have in its direction, 1 for all."""
        changes = {name: masters[name] - start[name].float() for name in start}
        along = sum(float(((weights[name].float() - start[name].float()) * change).sum()) for name, change in changes.items())
        return along / sum(float(change.square().sum()) for change in changes.values())

    assert kept(weights_of(group)) < 0.5
    for seed in (1, 2):
        group.export(str(tmp_path / str(seed)), seed)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("1", "2"))
    assert kept(first) == pytest.approx(1, abs=0.15)
    assert kept(second) == pytest.approx(1, abs=0.15)
    assert not same_bits(first, second)
    for _ in range(20):
        assert group.update(batch, 1e-5)["skipped_updates"] == 0
    end = weights_of(group)
    matrix = "model.layers.0.mlp.up_proj.weight"
    moved = (end[matrix].float() - start[matrix].float()).abs()
    assert float(moved.mean()) == pytest.approx(2e-4, rel=0.5)
    bad = TrainingBatch(batch.samples, (math.nan, *batch.advantages[1:]))
    assert group.update(bad)["skipped_updates"] == 1
    assert same_bits(end, weights_of(group))


def test_ranks_that_find_no_room_are_named(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.learner.group.START_TIMEOUT", 0.5)
    config = Config()
    config.resources.learner_gpus = 1
    group = LearnerGroup(config)
    with pytest.raises(LearnerError, match=r"learner ranks \[0\] of 1 did not finish node_and_pid.*free in the cluster"):
        group.begin_phase("unread", LR)
    with pytest.raises(LearnerError, match="has no ranks"):
        group.weights().send([])


def test_new_processes_resume_to_the_same_bits(groups: Groups, model_path: str, tmp_path: Path) -> None:
    group = groups(1, 3)
    group.begin_phase(model_path, LR)
    group.update(make_batch(1))
    group.save(str(tmp_path / "step-1"))
    group.update(make_batch(2))
    undisturbed = weights_of(group)
    group.shutdown()
    group.begin_phase(model_path, LR, resume_from=str(tmp_path / "step-1"))
    group.update(make_batch(2))
    assert same_bits(undisturbed, weights_of(group))


@pytest.mark.parametrize(("ranks", "stage"), [(1, 0), (2, 2), (2, 3)])
def test_lora_trains_the_adapter_and_sends_it_merged(
    groups: Groups, model_path: str, tmp_path: Path, ranks: int, stage: int
) -> None:
    base = dict(AutoModelForCausalLM.from_pretrained(model_path).named_parameters())
    group = groups(ranks, stage, lora=2, micro_batch_tokens=100)
    group.config.lora.targets = ["q_proj", "down_proj"]
    group.begin_phase(model_path, LR)
    assert same_bits(base, weights_of(group))  # a fresh adapter changes nothing
    batch = make_batch(6)
    before = group.logprobs(batch.samples)
    assert group.update(batch)["kl"] == pytest.approx(0, abs=1e-7)
    assert group.update(batch)["kl"] > 0
    for _ in range(3):
        group.update(batch)
    rise = [sum(b) - sum(a) for a, b in zip(before, group.logprobs(batch.samples), strict=True)]
    assert float(np.corrcoef(rise, batch.advantages)[0, 1]) > 0.7

    sent = weights_of(group)
    assert sent.keys() == base.keys()
    for name, tensor in sent.items():
        rank = int(torch.linalg.matrix_rank(tensor - base[name], rtol=1e-3)) if tensor.ndim == 2 else 0
        assert torch.equal(tensor, base[name]) or rank == 2, name
        assert (rank == 2) == ("q_proj" in name or "down_proj" in name), name
    group.export(str(tmp_path / "policy"), 0)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "policy", dtype="auto")
    assert same_bits(sent, dict(model.named_parameters()))
    with torch.no_grad():  # the layers with their adapters give what the merged ones give
        for sample, logprobs in zip(batch.samples, group.logprobs(batch.samples), strict=True):
            torch.testing.assert_close(torch.tensor(logprobs), plain_logprobs(model, sample, 0.8), rtol=0, atol=1e-4)

    group.begin_phase(str(tmp_path / "policy"), LR)  # the next round's reference is what this one ended with
    assert group.update(make_batch(6))["kl"] == pytest.approx(0, abs=1e-7)


def test_lora_in_bfloat16(groups: Groups, model_path: str) -> None:
    group = groups(1, 1, lora=4)
    group.config.model.dtype = "bfloat16"
    group.begin_phase(model_path, LR)
    batch = make_batch(6)
    before = group.logprobs(batch.samples)
    for _ in range(5):
        assert group.update(batch)["skipped_updates"] == 0
    rise = [sum(b) - sum(a) for a, b in zip(before, group.logprobs(batch.samples), strict=True)]
    assert float(np.corrcoef(rise, batch.advantages)[0, 1]) > 0.7
    assert {tensor.dtype for tensor in weights_of(group).values()} == {torch.bfloat16}


def test_lora_on_layers_that_are_not_there(groups: Groups, model_path: str) -> None:
    group = groups(1, lora=2)
    group.config.lora.targets = ["q_proj", "query"]
    with pytest.raises(LearnerError, match=r"lora.targets=\['query'\].*valid: down_proj, gate_proj"):
        group.begin_phase(model_path, LR)


@pytest.mark.parametrize(
    ("ranks", "stage", "offload", "dtype"),
    [
        (1, 1, "all", "float32"),
        (1, 1, "optimizer", "bfloat16"),
        (2, 2, "optimizer", "float32"),
        (2, 3, "optimizer", "float32"),
        (2, 3, "all", "float32"),
    ],
)
def test_offload_changes_nothing(
    groups: Groups, model_path: str, tmp_path: Path, ranks: int, stage: int, offload: str, dtype: str
) -> None:
    """Not even after an update that was skipped."""

    def train(offload: str) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
        group = groups(ranks, stage, micro_batch_tokens=100, offload=offload)
        group.config.model.dtype = dtype
        group.begin_phase(model_path, LR)
        group.update(make_batch(1))
        group.save(str(tmp_path / offload))
        group.begin_phase(model_path, LR, resume_from=str(tmp_path / offload))
        bad = TrainingBatch(make_batch(2).samples, (math.nan,) * 8)
        assert group.update(bad)["skipped_updates"] == 1
        metrics = group.update(make_batch(2))
        return weights_of(group), metrics

    (weights, metrics), (expected, plain) = train(offload), train("none")
    for name in expected:
        torch.testing.assert_close(weights[name], expected[name], rtol=0 if dtype == "float32" else 0.01, atol=1e-6)
    assert metrics["kl"] == pytest.approx(plain["kl"], rel=1e-4)
    assert metrics["grad_norm"] == pytest.approx(plain["grad_norm"], rel=1e-4)


def test_checkpoint_of_another_layout_is_refused(groups: Groups, model_path: str, tmp_path: Path) -> None:
    group = groups(2, 2)
    group.begin_phase(model_path, LR)
    group.save(str(tmp_path / "step-0"))
    with pytest.raises(
        LearnerError, match=r"cannot resume.*written with learner.ranks=2 \(now 1\), learner.zero_stage=2 \(now 0\)"
    ):
        groups(1).begin_phase(model_path, LR, resume_from=str(tmp_path / "step-0"))


def test_wrong_checkpoint_is_named(groups: Groups, model_path: str, tmp_path: Path) -> None:
    with pytest.raises(LearnerError, match=f"no checkpoint of the learner in {tmp_path}"):
        groups(1).begin_phase(model_path, LR, resume_from=str(tmp_path))


class Program:
    """What a forged checkpoint may hold: unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_a_program_in_a_checkpoint_is_not_run(groups: Groups, model_path: str, tmp_path: Path) -> None:
    group = groups(1)
    group.begin_phase(model_path, LR)
    group.save(str(tmp_path / "step-0"))
    for name in ("engine/mp_rank_00_model_states.pt", "rng-0.pt"):
        torch.save(Program(tmp_path / "ran"), tmp_path / "step-0" / name)
        with pytest.raises(LearnerError, match="step-0 holds more than data, which is not read"):
            group.begin_phase(model_path, LR, resume_from=str(tmp_path / "step-0"))
    assert not (tmp_path / "ran").exists()


def test_a_rank_that_dies_in_a_step_is_named_at_once(groups: Groups, model_path: str) -> None:
    """The other rank waits in a collective for it; nothing waits for the other rank."""
    group = groups(2, 3)
    group.begin_phase(model_path, LR)
    ray.get(group._ranks[1].die_in_next_step.remote())
    started = time.monotonic()
    with pytest.raises(LearnerLostError, match="learner rank 1 of 2 died in update"):
        group.update(make_batch(1))
    assert time.monotonic() - started < 30
    with pytest.raises(LearnerError, match="has no ranks"):
        group.update(make_batch(1))


def test_a_learner_that_dies_as_it_starts_or_hangs_is_replaced_from_its_checkpoint(
    groups: Groups, model_path: str, tmp_path: Path
) -> None:
    group = groups(1)
    group.launch()
    os.kill(ray.get(group._ranks[0].process_id.remote()), signal.SIGKILL)
    with pytest.raises(LearnerLostError, match="died in node_and_pid"):
        group.begin_phase(model_path, LR)
    group.begin_phase(model_path, LR)
    group.update(make_batch(1))
    group.save(str(tmp_path / "step-1"))
    group.update(make_batch(2))
    undisturbed = weights_of(group)
    os.kill(ray.get(group._ranks[0].process_id.remote()), signal.SIGSTOP)
    group.config.learner.timeout_s = 2.0
    with pytest.raises(LearnerLostError, match=r"learner ranks \[0\] of 1, pid=\d+ did not finish update in 2 s"):
        group.update(make_batch(3))
    group.config.learner.timeout_s = 300.0
    group.begin_phase(model_path, LR, resume_from=str(tmp_path / "step-1"))
    group.update(make_batch(2))
    assert same_bits(weights_of(group), undisturbed)
