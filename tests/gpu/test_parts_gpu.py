"""What only a GPU can show of the learner, the engines and the transfer between them; each test is named by what it proves."""

import gc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from actors.cluster import ray_cluster
from actors.learner.group import LearnerGroup
from actors.learner.rank import Learner
from actors.placement import Placement, reserved
from actors.rollout.fleet import RolloutFleet
from actors.rollout.worker import RolloutWorker
from actors.weights.buckets import Staging, checksum
from actors.weights.device import PACKED_BYTES
from conf.load import ROOT, load_config
from conf.schema import Config, SamplingConfig
from jobs.bench.common import write_model
from jobs.bench.learner import draw_batch
from pipeline.algorithm.packing import LogprobHead, flash, flash_attention, padded_attention
from pipeline.types import Policy, Request, Sample, TrainingBatch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU, and torch sees none"),
]
two_gpus = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA GPUs")

BASE = str(ROOT / "assets" / "tiny-base")
REQUESTS = [Request(tuple(10 + place + i for i in range(6)), seeds=(place, 100 + place)) for place in range(16)]
SHARED = (
    *("resources.device=cuda", "resources.learner_gpus=0.5", "resources.rollout_gpus=0.5", "model.dtype=bfloat16"),
    *("rollout.gpu_memory_utilization=0.3", "learner.zero_stage=1"),
)
# A matrix of the feed-forward layer has 160 MiB.
LARGE: dict[str, Any] = {
    "hidden_size": 4096,
    "intermediate_size": 20480,
    "num_hidden_layers": 1,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
}


@pytest.fixture(scope="module", name="cluster", autouse=True)
def _cluster() -> Iterator[None]:
    with ray_cluster(load_config(), print):
        yield


def both(config: Config, model: str, placement: Placement) -> tuple[LearnerGroup, RolloutFleet]:
    learner, fleet = LearnerGroup(config, placement), RolloutFleet(config, model, placement)
    fleet.wait_ready()
    take_turns(config, fleet)
    learner.begin_phase(model, lr=1e-5)
    return learner, fleet


def take_turns(config: Config, fleet: RolloutFleet) -> None:
    if config.colocated:
        fleet.sleep(keep_policy=False)


def drawn_as_learned(config: Config, model: str) -> list[Sample]:
    """Samples of an engine that got the learner's weights after an update, whose log-probabilities are the learner's."""
    with reserved(config, 0, print) as placement:
        learner, fleet = both(config, model, placement)
        first = [s for group in fleet.sample(REQUESTS, Policy("v0", learner.weights()), config.sampling) for s in group]
        take_turns(config, fleet)
        learner.update(TrainingBatch(tuple(first), tuple((-1.0) ** i for i in range(len(first)))))
        samples = [s for group in fleet.sample(REQUESTS, Policy("v1", learner.weights()), config.sampling) for s in group]
        learned = [torch.tensor(values) for values in learner.logprobs(samples)]
        sampled = [torch.tensor(sample.logprobs) for sample in samples]
        assert (torch.cat(sampled) - torch.cat(learned)).abs().mean() < 0.05
        fleet.shutdown()
        learner.shutdown()
    return samples


def assert_same(drawn: list[list[Sample]], before: list[list[Sample]]) -> None:
    """The same tokens. Log-probabilities differ in the last bits: which requests share a batch depends on when each arrives."""
    for one, other in zip((s for group in drawn for s in group), (s for group in before for s in group), strict=True):
        assert one.token_ids == other.token_ids
        assert one.logprobs == pytest.approx(other.logprobs, abs=0.05)


def test_ipc_transfers_a_tensor_larger_than_a_packed_buffer(tmp_path: Path) -> None:
    model = write_model(str(tmp_path), "bfloat16", **LARGE)
    assert max(p.numel() * p.element_size() for p in model.parameters()) > PACKED_BYTES
    drawn_as_learned(load_config("tiny", [*SHARED, "rollout.transfer=ipc", "grpo.kl=0"]), str(tmp_path))


@two_gpus
def test_ipc_reaches_the_engine_on_each_ranks_gpu() -> None:
    """Each rank has to share its GPU with its engine: with fractions alone Ray put two engines on one GPU."""
    drawn_as_learned(load_config("tiny", [*SHARED, "rollout.transfer=ipc", "learner.ranks=2", "rollout.engines=2"]), BASE)


@two_gpus
def test_nccl_reaches_engines_on_gpus_of_their_own() -> None:
    whole = ["resources.learner_gpus=1", "resources.rollout_gpus=1", "rollout.transfer=nccl"]
    drawn_as_learned(load_config("tiny", [*SHARED, *whole]), BASE)


@two_gpus
def test_zero_3_in_bfloat16_overlaps_communication_on_two_ranks() -> None:
    whole = ["resources.learner_gpus=1", "resources.rollout_gpus=1", "learner.ranks=2", "learner.zero_stage=3"]
    batch = draw_batch(16, 24, 48, 700)
    norms = []
    for settings in (whole, whole[:2]):
        config = load_config("tiny", [*SHARED, *settings])
        learner = LearnerGroup(config)
        learner.begin_phase(BASE, lr=1e-4)
        norms.append([learner.update(batch)["grad_norm"] for _ in range(3)])
        learner.shutdown()
    assert norms[0] == pytest.approx(norms[1], rel=0.05)


def test_chunks_overlap_in_one_engine() -> None:
    config = load_config("tiny", [*SHARED, "rollout.chunk=4", "rollout.max_num_seqs=32"])
    samples = drawn_as_learned(config, BASE)
    assert {sample.version for sample in samples} == {"v1"}
    assert [sample.seed for sample in samples] == [seed for request in REQUESTS for seed in request.seeds]


def test_an_engine_out_of_gpu_memory_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failed = tmp_path / "failed"

    class OutOfMemoryOnce(RolloutWorker):
        def _enqueue(
            self, requests: Sequence[Request], sampling: SamplingConfig, for_learning: bool
        ) -> dict[int, tuple[int, int]]:
            if not failed.exists():
                failed.touch()
                torch.empty(1 << 42, device="cuda")
            return super()._enqueue(requests, sampling, for_learning)

    monkeypatch.setattr("actors.rollout.worker.RolloutWorker", OutOfMemoryOnce)
    drawn_as_learned(load_config("tiny", SHARED), BASE)
    assert failed.exists()


@pytest.fixture(scope="module", name="learner")
def _learner() -> Iterator[Learner]:
    """A rank in this process, where DeepSpeed's groups belong to the first world that it joins."""
    made = Learner(0, 1, "cuda")
    made.join("127.0.0.1", made.listen("127.0.0.1"), load_config("tiny").learner.timeout_s)
    yield made
    torch.distributed.destroy_process_group()


def test_a_rank_keeps_no_cached_gpu_memory_while_engines_work(learner: Learner, tmp_path: Path) -> None:
    config = load_config("tiny", SHARED)
    for _ in range(2):
        for work in (
            lambda: learner.begin_phase(config, BASE, 1e-5, None),
            lambda: learner.update(draw_batch(64, 24, 48, 700)),
            lambda: learner.save(str(tmp_path / "checkpoint")),
            learner.publish,
            lambda: learner.export(str(tmp_path / "policy"), 0),
        ):
            work()
            assert torch.cuda.memory_reserved() - torch.cuda.memory_allocated() < 64 << 20
    before = torch.cuda.memory_allocated()
    learner._release()
    gc.collect()
    assert torch.cuda.memory_allocated() < before / 4


COLOCATED = (*SHARED, "resources.placement=colocated", "rollout.gpu_memory_utilization=0.85")


def free_share() -> float:
    free, total = torch.cuda.mem_get_info()
    return free / total


def test_a_sleeping_engine_leaves_its_memory_and_takes_it_again() -> None:
    config = load_config("tiny", COLOCATED)
    with reserved(config, 0, print) as placement:
        learner, fleet = both(config, BASE, placement)
        asleep = free_share()
        drawn = fleet.sample(REQUESTS, Policy("v0", learner.weights()), config.sampling)
        assert asleep - free_share() > 0.6
        fleet.sleep(keep_policy=False)
        assert free_share() == pytest.approx(asleep, abs=0.05)
        assert_same(fleet.sample(REQUESTS, Policy("v0", learner.weights()), config.sampling), drawn)
        fleet.shutdown()
        learner.shutdown()


def test_a_kept_policy_outlives_sleep_without_a_transfer() -> None:
    config = load_config("tiny", COLOCATED)
    with reserved(config, 0, print) as placement:
        learner, fleet = both(config, BASE, placement)
        policy = Policy("v0", learner.weights())
        drawn = fleet.sample(REQUESTS, policy, config.sampling)
        fleet.take_counts()
        fleet.sleep(keep_policy=True)
        assert_same(fleet.sample(REQUESTS, policy, config.sampling), drawn)
        assert "swaps" not in fleet.take_counts()
        fleet.shutdown()
        learner.shutdown()


@pytest.mark.parametrize("transfer", ["host", "ipc"])
def test_a_rank_and_an_engine_that_exceed_the_gpu_together_take_turns(transfer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Large(Learner):
        """Takes half of the GPU in an update, besides the engine's 85 %."""

        def update(self, batch: TrainingBatch, lr: float | None = None) -> dict[str, float]:
            half = torch.ones(torch.cuda.mem_get_info()[1] // 2, dtype=torch.uint8, device="cuda")
            metrics = super().update(batch, lr)
            del half
            self._empty_cache()
            return metrics

    monkeypatch.setattr("actors.learner.group.Learner", Large)
    drawn_as_learned(load_config("tiny", [*COLOCATED, f"rollout.transfer={transfer}"]), BASE)


@two_gpus
def test_two_sharded_ranks_take_turns_with_two_engines() -> None:
    two = ["learner.ranks=2", "learner.zero_stage=3", "rollout.engines=2", "rollout.transfer=ipc"]
    drawn_as_learned(load_config("tiny", [*COLOCATED, *two]), BASE)


@pytest.mark.parametrize("offload", ["none", "optimizer"])
def test_fused_adamw_steps_as_the_plain_one_does(learner: Learner, offload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = []
    for fused in (True, False):
        adamw = torch.optim.AdamW
        monkeypatch.setattr("torch.optim.AdamW", lambda *a, _adamw=adamw, _fused=fused, **o: _adamw(*a, **{**o, "fused": _fused}))
        learner.begin_phase(load_config("tiny", [*SHARED, f"learner.offload={offload}"]), BASE, 1e-2, None)
        for seed in range(3):
            learner.update(draw_batch(16, 24, 48, 700, seed))
        weights.append(torch.cat([p.detach().float().cpu().flatten() for p in learner.engine.module.parameters()]))
        monkeypatch.undo()
    fused_weights, plain_weights = weights
    assert torch.allclose(fused_weights, plain_weights, atol=1e-3)  # a step moves a weight by up to 1e-2


def test_ligers_kernels_compute_what_transformers_does(learner: Learner) -> None:
    batch, results = draw_batch(16, 24, 48, 700), []
    for liger in ("false", "true"):  # in this order: a kernel stays in the process
        learner.begin_phase(load_config("tiny", [*SHARED, f"learner.liger={liger}"]), BASE, 1e-4, None)
        (layer, *_) = learner.engine.module.model.layers
        assert (layer.mlp._get_name() == "LigerSwiGLUMLP") == (liger == "true")
        logprobs = torch.tensor([value for values in learner.logprobs(batch.samples).values() for value in values])
        results.append((logprobs, learner.update(batch)["grad_norm"]))
    (plain, norm), (kernels, their_norm) = results
    torch.testing.assert_close(kernels, plain, atol=5e-2, rtol=0)
    assert their_norm == pytest.approx(norm, rel=0.02)


def test_a_larger_chunk_of_logits_changes_no_log_probability() -> None:
    torch.manual_seed(0)
    hidden, weight, targets = torch.randn(700, 64), torch.randn(151_936, 64), torch.randint(0, 151_936, (700,))
    on_cpu = LogprobHead(torch.nn.Parameter(weight), 1.0)(hidden, targets)
    on_gpu = LogprobHead(torch.nn.Parameter(weight.cuda()), 1.0)(hidden.cuda(), targets.cuda())
    for cpu, gpu in zip(on_cpu, on_gpu, strict=True):
        assert torch.allclose(cpu, gpu.cpu(), atol=1e-2)


def test_tensors_leave_the_gpu_through_page_locked_memory_bit_by_bit() -> None:
    named = [("a", torch.randn(1000, 33, device="cuda").bfloat16()), ("b", torch.randn(7, device="cuda"))]
    staging = Staging()
    for _ in range(2):  # the memory is used again
        copies = staging.on_host(named)
        assert staging._memory.is_pinned()
        assert [checksum(copy) for _, copy in copies] == [checksum(tensor.cpu()) for _, tensor in named]
        named = [(name, tensor + 1) for name, tensor in named]


@pytest.mark.skipif(torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 0), reason="needs Ampere or newer")
def test_flash_attention_over_a_row_is_that_of_padded_blocks() -> None:
    g = torch.Generator(device="cuda").manual_seed(0)
    lengths = (700, 640, 123, 1)
    q, k, v = (
        torch.randn(1, heads, sum(lengths), 128, generator=g, device="cuda", dtype=torch.bfloat16).requires_grad_()
        for heads in (16, 8, 8)
    )
    assert flash(q)
    assert not flash(q.float())
    results = [attend(q, k, v, lengths, 128**-0.5) for attend in (flash_attention, padded_attention)]
    torch.testing.assert_close(*results, atol=2e-2, rtol=2e-2)
    slope = torch.randn_like(results[0])
    for ours, plain in zip(*(torch.autograd.grad(result, (q, k, v), slope) for result in results), strict=True):
        torch.testing.assert_close(ours, plain, atol=5e-2, rtol=5e-2)
