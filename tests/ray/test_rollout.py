"""The rollout fleet on the tiny base: real Ray, real vLLM, weights that change under it, workers that die."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import ray
import torch
from ray.exceptions import OwnerDiedError
from transformers import AutoModelForCausalLM, AutoTokenizer

from actors.cluster import ROOT
from actors.rollout.drawing import Drawing
from actors.rollout.fleet import RolloutFleet
from actors.rollout.worker import Drawn, RolloutWorker
from actors.weights.buckets import publish
from actors.weights.host import HostWeights
from conf.schema import Config, RolloutConfig, SamplingConfig
from pipeline.errors import LearnerLostError, MismatchError, RolloutError
from pipeline.types import EncodedPrompt, Policy, Request, Sample

BASE = str(ROOT / "assets" / "tiny-base")
SAMPLING = SamplingConfig(max_tokens=24)
# Chunks of 16: 20 requests of two make several.
CONFIG = Config(rollout=RolloutConfig(engines=1, chunk=16, kv_cache_mb=64, transfer_timeout_s=20))


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this file exists, an engine of `fleet` removes it and fails half-way through a chunk."""
    return tmp_path_factory.mktemp("engines") / "failing"


@pytest.fixture(scope="module")
def fleet(ray_cluster: None, failing: Path) -> Iterator[RolloutFleet]:
    class RolloutWorkerThatFails(RolloutWorker):
        def _drawn(self, place: int, request: Request, outputs: list) -> Drawn:
            if place == 1 and failing.exists():
                failing.unlink()
                raise MemoryError("CUDA out of memory")
            return super()._drawn(place, request, outputs)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("actors.rollout.worker.RolloutWorker", RolloutWorkerThatFails)
        made = RolloutFleet(CONFIG, BASE)
    made.wait_ready()
    yield made
    made.shutdown()


def shaken(strength: float) -> torch.nn.Module:
    """The base with every parameter moved by noise, so that stale weights cannot pass for new ones."""
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(strength * torch.randn_like(parameter))
    return model


def policy(model: torch.nn.Module, version: str) -> Policy:
    return Policy(version, HostWeights(lambda: publish([list(model.named_parameters())]), CONFIG.rollout.transfer_timeout_s))


def requests(count: int, prompt_length: int = 12) -> list[Request]:
    """`count` groups of two, over three prompts."""
    return [
        Request(tuple(10 + (index % 3 + place) % 80 for place in range(prompt_length)), seeds=(2 * index, 2 * index + 1))
        for index in range(count)
    ]


def learner_logprobs(model: torch.nn.Module, sample: Sample) -> torch.Tensor:
    ids = torch.tensor([sample.prompt_ids + sample.token_ids])
    with torch.no_grad():
        logprobs = model(ids).logits.log_softmax(dim=-1)
    start = len(sample.prompt_ids)
    return logprobs[0, start - 1 : -1].gather(-1, ids[0, start:, None])[:, 0]


def test_samples_are_versioned_and_seeded(fleet: RolloutFleet) -> None:
    base = policy(shaken(0), "base")
    groups = fleet.sample(requests(20), base, SAMPLING)
    samples = [sample for group in groups for sample in group]
    assert {sample.version for sample in samples} == {"base"}
    assert [sample.seed for sample in samples] == list(range(40))
    assert all(len(sample.token_ids) == len(sample.logprobs) for sample in samples)
    cut_off = [sample for group in fleet.sample(requests(20), base, SamplingConfig(max_tokens=3)) for sample in group]
    assert all(sample.truncated == (sample.finish_reason == "length") for sample in samples + cut_off)
    assert not all(sample.truncated for sample in samples)
    assert any(sample.truncated for sample in cut_off)
    # There are three prompts: more than three different responses come from the seeds.
    assert len({sample.token_ids for sample in samples}) > 3
    # The same draws whatever the order and the company of the requests.
    backwards = fleet.sample(requests(20)[::-1], base, SAMPLING)
    assert [[sample.token_ids for sample in group] for group in backwards[::-1]] == [
        [sample.token_ids for sample in group] for group in groups
    ]


def test_groups_arrive_as_they_are_finished(fleet: RolloutFleet) -> None:
    base = policy(shaken(0), "base-streamed")
    asked = requests(8, prompt_length=4)
    arrived = list(fleet.stream(asked, base, SamplingConfig(max_tokens=96)))
    assert sorted(place for place, _ in arrived) == list(range(8))
    # A group is there as soon as its longest response is: shorter ones come first, whatever their place.
    longest = [max(len(sample.token_ids) for sample in group) for _, group in arrived]
    assert longest == sorted(longest)
    assert longest[0] < longest[-1]
    assert [group for _, group in sorted(arrived)] == fleet.sample(asked, base, SamplingConfig(max_tokens=96))


def test_a_sample_does_not_depend_on_what_is_drawn_beside_it_to_the_last_bit(fleet: RolloutFleet) -> None:
    """In a batch with others, in batches of one to three, beside prefills, with a prefix in the cache or not."""
    base = policy(shaken(0), "base-company")
    sampling = SamplingConfig(max_tokens=64)
    asked = [request for length in (3, 40, 100) for request in requests(12, prompt_length=length)]
    together = fleet.sample(asked, base, sampling)
    assert fleet.sample(asked[::-1], base, sampling)[::-1] == together
    for place in range(0, len(asked), 5):
        alone = [Request(asked[place].prompt_ids, (seed,)) for seed in asked[place].seeds]
        assert [fleet.sample([each], base, sampling)[0][0] for each in alone] == together[place]
    later = [sample for group in together for sample in group if len(sample.token_ids) > 8]
    assert len({sample.logprobs[-1] for sample in later}) > len(later) // 2  # log-probabilities of which a last bit would show


def test_an_engine_has_as_many_samples_as_it_decodes_at_once_and_dies_with_all(
    fleet: RolloutFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = policy(shaken(0), "base-many")
    asked = requests(20)
    expected = fleet.sample(asked, base, SAMPLING)
    monkeypatch.setattr(fleet, "_config", replace(CONFIG, rollout=replace(CONFIG.rollout, chunk=4, max_num_seqs=16)))
    most: list[int] = []
    feed = Drawing.feed

    def counting(self: Drawing, engines: Sequence) -> None:
        feed(self, engines)
        if self.waiting:
            most.append(max(self._unfinished.values()))

    monkeypatch.setattr(Drawing, "feed", counting)
    assert fleet.sample(asked, base, SAMPLING) == expected
    assert most
    assert all(16 + 4 <= samples < 16 + 2 * 4 for samples in most)  # of which one chunk waits, and less than another
    arriving = fleet.stream(asked, base, SAMPLING)
    fleet.take_counts()
    first = next(arriving)
    (process,) = [process for process in psutil.process_iter(["cmdline"]) if is_rollout_worker(process)]
    process.kill()
    again = dict([first, *arriving])
    assert fleet.take_counts()["replaced"] == 1
    assert [again[place] for place in range(20)] == expected


def test_a_response_begins_with_its_prefill_and_ends_before_a_stop_string(fleet: RolloutFleet) -> None:
    tokenizer, model, prefill, stop = AutoTokenizer.from_pretrained(BASE), shaken(0), "<question>", ("left", ". Wh", "\n")
    before = "<|im_start|>user\nWrite a problem.<|im_end|>\n<|im_start|>assistant\n"
    prompt = EncodedPrompt(tuple(tokenizer.encode(before + prefill)), prefill, stop)
    base, sampling = policy(model, "base-stopped"), SamplingConfig(max_tokens=64)
    asked = [prompt.request(range(first, first + 2)) for first in range(0, 16, 2)]
    stopped, free = (
        [sample for group in fleet.sample(requests, base, sampling) for sample in group]
        for requests in (asked, [replace(request, stop=()) for request in asked])
    )
    cut = 0
    for sample, whole in zip(stopped, free, strict=True):
        # The tokens are those drawn without a stop string, up to the one that completes it: all of them are learned from.
        assert sample.token_ids == whole.token_ids[: len(sample.token_ids)]
        assert sample.prompt_ids == prompt.token_ids
        drawn = tokenizer.decode(sample.token_ids)
        first = min((drawn.find(text) for text in stop if text in drawn), default=-1)
        assert sample.text == prefill + (drawn[:first] if first >= 0 else drawn.removesuffix("<|im_end|>"))
        if first >= 0:
            cut += 1
            assert not sample.truncated
            assert not any(text in tokenizer.decode(sample.token_ids[:-1]) for text in stop)
        torch.testing.assert_close(torch.tensor(sample.logprobs), learner_logprobs(model, sample), atol=1e-4, rtol=0)
    assert cut > len(stopped) / 2
    assert all(any(text in tokenizer.decode(sample.token_ids) for sample in stopped) for text in stop)
    # The same where nothing is learned from the samples.
    evaluated = dict(fleet.stream(asked, base, sampling, for_learning=False))
    assert [sample.text for place in sorted(evaluated) for sample in evaluated[place]] == [sample.text for sample in stopped]


# A prompt of 200 tokens fills a block of the prefix cache, which must not survive a change of weights.
@pytest.mark.parametrize("prompt_length", [12, 200])
def test_engine_follows_the_weights(fleet: RolloutFleet, prompt_length: int) -> None:
    for strength in (0.0, 0.02):
        model = shaken(strength)
        groups = fleet.sample(requests(3, prompt_length), policy(model, f"shaken-{strength}-{prompt_length}"), SAMPLING)
        for sample in (sample for group in groups for sample in group):
            torch.testing.assert_close(torch.tensor(sample.logprobs), learner_logprobs(model, sample), atol=1e-4, rtol=0)


def test_a_shared_prompt_is_computed_once(fleet: RolloutFleet) -> None:
    base = policy(shaken(0), "base-shared")
    fleet.take_counts()
    fleet.sample([Request(requests(1, prompt_length=200)[0].prompt_ids, tuple(range(8)))], base, SAMPLING)
    counts = fleet.take_counts()
    assert counts["prompt_tokens"] == 8 * 200
    assert counts["cached_tokens"] == 7 * 192  # whole blocks of 32, for all but the first


def test_greedy_takes_the_likeliest_token(fleet: RolloutFleet) -> None:
    base = policy(shaken(0), "base-again")
    same_prompt = [Request(requests(1)[0].prompt_ids, tuple(range(4)))]
    (group,) = fleet.sample(same_prompt, base, SamplingConfig(temperature=0.0, max_tokens=8))
    assert len({sample.token_ids for sample in group}) == 1


def test_an_engine_that_hangs_or_in_which_something_fails_is_replaced_and_draws_the_same(
    fleet: RolloutFleet, failing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With chunks still to draw: they are sent to the engine only while results are taken."""
    monkeypatch.setattr(fleet, "_config", replace(CONFIG, rollout=replace(CONFIG.rollout, chunk=4, max_num_seqs=16)))
    model = policy(shaken(0.01), "before-hanging")
    fleet.take_counts()
    undisturbed = fleet.sample(requests(20), model, SAMPLING)
    (process,) = [process for process in psutil.process_iter(["cmdline"]) if is_rollout_worker(process)]
    monkeypatch.setattr("actors.rollout.pings.PING_S", 1)
    arriving = fleet.stream(requests(20), model, SAMPLING)
    first = next(arriving)
    process.suspend()
    failing.touch()  # for the engine that takes its place
    again = dict([first, *arriving])
    assert len(again) == 20
    assert not failing.exists()
    assert fleet.take_counts()["replaced"] == 2
    assert [[as_drawn(sample) for sample in again[place]] for place in range(20)] == [
        [as_drawn(sample) for sample in group] for group in undisturbed
    ]
    psutil.wait_procs([process], timeout=30)
    assert not process.is_running()


def test_what_fails_in_every_engine_ends_the_run_and_is_told(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(RolloutWorker):
        """Without vLLM, and fails whenever samples are drawn."""

        def __init__(self, *arguments: object) -> None:
            self._failure, self._sleep = None, SimpleNamespace(end=lambda: None)

        def load(self, buckets: Sequence) -> None:
            pass

        def accept(self, version: str, checksums: object) -> list[str]:
            self.version = version
            return []

        def _enqueue(self, *arguments: object) -> dict:
            raise RuntimeError("CUDA error: an illegal memory access\nFor debugging consider CUDA_LAUNCH_BLOCKING=1")

    monkeypatch.setattr("actors.rollout.worker.RolloutWorker", Failing)
    monkeypatch.setattr("actors.restarts.MOST_IN_A_ROW", 2)
    fleet = RolloutFleet(CONFIG, BASE)
    with pytest.raises(RolloutError, match=r"2 times .*RuntimeError: CUDA error: an illegal memory access"):
        fleet.sample(requests(4), policy(shaken(0), "never-drawn"), SAMPLING)
    fleet.shutdown()


def test_engines_that_start_late_join_and_draw_the_same_to_the_last_bit(
    fleet: RolloutFleet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, sick = tmp_path / "first", tmp_path / "sick"

    class DyingLate(RolloutWorker):
        """All but the first of its kind die while they start, as long as a file exists."""

        def __init__(self, config: Config, model_path: str) -> None:
            if first.exists() and sick.exists():
                os._exit(1)
            first.touch()
            super().__init__(config, model_path)

    model = policy(shaken(0.01), "before-joining")
    expected = fleet.sample(requests(40), model, SAMPLING)
    sick.touch()
    monkeypatch.setattr("actors.rollout.worker.RolloutWorker", DyingLate)
    monkeypatch.setattr("actors.restarts.MOST_IN_A_ROW", 2)
    two = RolloutFleet(Config(rollout=replace(CONFIG.rollout, engines=2, max_num_seqs=16)), BASE)
    two.wait_usable()
    with pytest.raises(RolloutError, match="a rollout worker could not start"):
        two.wait_ready()
    assert two.sample(requests(4), model, SAMPLING) == fleet.sample(requests(4), model, SAMPLING)  # the first draws alone
    sick.unlink()
    arriving = two.stream(requests(40), model, SAMPLING)
    drawn = [next(arriving)]
    assert len(two._workers) == 1
    ray.wait(list(two._joining), timeout=120)
    drawn += arriving  # by both
    assert len(two._workers) == 2
    assert [samples for _, samples in sorted(drawn)] == expected
    assert two.sample(requests(40), model, SAMPLING) == expected
    two.shutdown()


def as_drawn(sample: Sample) -> Sample:
    return replace(sample, version="")


def test_a_parameter_that_differs_from_the_one_sent_stops_the_run(fleet: RolloutFleet) -> None:
    sent = publish([list(shaken(0.01).named_parameters())])
    sent.checksums.of["model.layers.1.self_attn.q_proj.weight"] ^= 1
    with pytest.raises(MismatchError, match=r"checksums of 1 parameters differ, e\.g\. model\.layers\.1\.self_attn\.qkv_proj"):
        fleet.load(Policy("differs", HostWeights(lambda: sent, CONFIG.rollout.transfer_timeout_s)))


def test_weights_that_are_lost_with_their_rank_are_the_learners_failure(
    ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Losing:  # without vLLM
        def __init__(self, *arguments: object) -> None:
            pass

        def ready(self) -> bool:
            return True

        def load(self, buckets: Sequence) -> None:
            pass

        def accept(self, version: str, checksums: object) -> list[str]:
            raise OwnerDiedError("00", None, "")

    monkeypatch.setattr("actors.rollout.worker.RolloutWorker", Losing)
    fleet = RolloutFleet(CONFIG, BASE)
    with pytest.raises(LearnerLostError, match="the weights of lost are lost"):
        fleet.load(policy(shaken(0), "lost"))
    fleet.shutdown()


def test_what_keeps_an_engine_from_starting_is_told(ray_cluster: None, tmp_path: Path) -> None:
    fleet = RolloutFleet(CONFIG, str(tmp_path / "no-model"))
    with pytest.raises(RolloutError, match=r"a rollout worker could not start: .*no-model"):
        fleet.wait_ready()
    fleet.shutdown()


def is_rollout_worker(process: psutil.Process) -> bool:
    """Whether it is an actor of this test's own cluster."""
    ours = str(Path(os.environ["RAY_AUTH_TOKEN_PATH"]).parent)
    try:
        command = " ".join(process.cmdline())
        return command.startswith("ray::RolloutWorker") and process.environ().get("RAY_AUTH_TOKEN_PATH", "").startswith(ours)
    except psutil.Error:
        return False


def test_ray_listens_on_loopback_alone(ray_cluster: None) -> None:
    ours = str(Path(os.environ["RAY_AUTH_TOKEN_PATH"]).parent)
    listening = set()
    for process in psutil.process_iter():
        try:
            if process.environ().get("RAY_AUTH_TOKEN_PATH", "").startswith(ours):
                listening |= {c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
        except psutil.Error:
            continue
    assert listening
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
