"""Rollout worker: one vLLM engine in a Ray actor, which draws responses under the policy loaded last."""

import asyncio
import os
import traceback
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from actors.bundles import engine_gpus
from actors.rollout import invariance
from actors.rollout.sleep import Sleep
from actors.rollout.text import before_stop, decode, end_of_sequence_ids
from conf.schema import Config, SamplingConfig
from pipeline.types import Checksums, Request, Sample


@dataclass(frozen=True, slots=True)
class Drawn:
    """The samples of a chunk's request number `place`; `cached_tokens` of their prompts came from the prefix cache."""

    place: int
    samples: list[Sample]
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class Report:
    """What is finished of a chunk, and how many samples the engine has `finished` since its last report, also of other chunks."""

    drawn: list[Drawn]
    finished: int


def engine_environment(config: Config) -> dict[str, str]:
    """Environment of a rollout worker's process, which must be set before vLLM is imported."""
    environment = {
        # The engine runs in the actor's own process: weights reach it without a copy, and it dies with the actor.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
    }
    if config.resources.device == "cpu":
        environment |= invariance.ENVIRONMENT | {
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "OMP_NUM_THREADS": "1",
            # Even in eager mode the sampler has one compiled function, which needs a C++ compiler.
            "TORCHDYNAMO_DISABLE": "1",
            # Spinning threads would take the core from other processes.
            "OMP_WAIT_POLICY": "passive",
            "GOMP_SPINCOUNT": "0",
        }
    else:
        # FlashInfer's sampler compiles on first use, with nvcc, and knows no seed per request.
        environment["VLLM_USE_FLASHINFER_SAMPLER"] = "0"
    return environment


class RolloutWorker:
    """Draws samples with vLLM. Made by `RolloutFleet`, one per engine."""

    def __init__(self, config: Config, model_path: str) -> None:
        # Imported here: vLLM and torch take seconds to import, and the driver needs neither to start an engine.
        from transformers import AutoTokenizer
        from vllm import LLM
        from vllm.config import WeightTransferConfig

        from actors.weights.vllm_load import keep_cpu_weights_loadable

        if config.resources.device == "cpu":
            preregister(model_path)
            keep_cpu_weights_loadable()
            invariance.pad_small_batches()
            engine: dict[str, Any] = {
                "kv_cache_memory_bytes": config.rollout.kv_cache_mb << 20,
                "block_size": 32,  # the smallest: only whole blocks of a prompt that several samples share are computed once
                # Chunked prefill of a seeded request rewinds its generator, which CPU generators do not support.
                "enable_chunked_prefill": False,
            }
        else:
            engine = {
                "gpu_memory_utilization": config.rollout.gpu_memory_utilization,
                "enable_sleep_mode": config.colocated,
            }
            if config.rollout.tensor_parallel > 1:
                # One child process per GPU: they see the GPUs that Ray assigned to this actor, all on one node.
                engine |= {"tensor_parallel_size": config.rollout.tensor_parallel, "distributed_executor_backend": "mp"}
        if config.rollout.transfer == "shared":
            import actors.weights.shared  # noqa: F401  (registers it with vLLM)
        if config.rollout.transfer != "host":
            engine["weight_transfer_config"] = WeightTransferConfig(backend=config.rollout.transfer)
        dtype: Any = config.model.dtype
        self.llm = LLM(
            model=model_path,
            trust_remote_code=False,
            dtype=dtype,
            max_model_len=config.model.max_length,
            max_num_seqs=config.rollout.max_num_seqs,
            enforce_eager=config.resources.device == "cpu",
            enable_prefix_caching=True,
            # Log-probabilities of the sampling distribution: temperature and top-p applied.
            logprobs_mode="processed_logprobs",
            seed=0,
            **engine,
        )
        self.tokenizer: Any = AutoTokenizer.from_pretrained(model_path, trust_remote_code=False)
        self.stop_ids = end_of_sequence_ids(self.llm, self.tokenizer)
        self.version = "none"
        self._sleep = Sleep(self.llm)
        self._finished: dict[int, Any] = {}  # outputs by vLLM's request number, until their call picks them up
        self._unreported = 0  # samples
        self._report_at = config.rollout.chunk
        self._step: asyncio.Future[None] | None = None
        self._failure: Exception | None = None

    @contextmanager
    def _final_failure(self) -> Iterator[None]:
        """After a failure (e.g. CUDA out of memory) the engine's state is unknown, so every later call raises the same error.

        The traceback goes to the actor's log, the error to the fleet, which replaces this process.
        """
        if self._failure:
            raise self._failure
        try:
            yield
        except Exception as failure:
            traceback.print_exc()
            self._failure = failure
            raise

    def load(self, buckets: Sequence[ray.ObjectRef[Any]]) -> None:
        """Loads weights, which Ray maps as read-only shared memory, one bucket at a time.

        `accept`, which the fleet calls next, sets their version, or raises the error of this call.
        """
        from actors.weights.vllm_load import load_into_engine

        self.version = "none"
        with suppress(Exception), self._final_failure():
            self._sleep.wake_weights()
            load_into_engine(self.llm, map(ray.get, buckets))

    def weight_transfer(self, *calls: tuple[Any, ...]) -> None:
        """Runs calls of vLLM's weight-transfer API, each a name and arguments, in every process of the engine.

        The learner calls this and does not handle an engine's failure: `accept` raises it.
        """
        self.version = "none"
        with suppress(Exception), self._final_failure():
            self._sleep.wake_weights()
            for name, *arguments in calls:
                self.llm.collective_rpc(name, args=tuple(arguments))

    def sleep(self, keep_policy: bool) -> None:
        """Leaves the GPU to the learner until weights arrive or, if the policy is kept, samples are requested."""
        if not keep_policy:
            self.version = "none"
        with self._final_failure():
            self._sleep.begin(keep_policy)

    def accept(self, version: str, checksums: Checksums) -> list[str]:
        """Sets the version of the received weights; returns the parameters that do not match them, see `vllm_load.confirm`."""
        from actors.weights.vllm_load import confirm

        with self._final_failure():
            self._sleep.end()
            wrong = confirm(self.llm, checksums)
        self.version = version
        return wrong

    async def sample(
        self, requests: Sequence[Request], sampling: SamplingConfig, version: str, for_learning: bool = True
    ) -> AsyncIterator[Report]:
        """Draws a chunk under policy `version` and yields its requests as they finish, or word that there is room for more.

        Temperature 0 is greedy. Concurrent calls share the engine's batches; on a CPU a sample does not depend on them
        (`invariance`).

        Raises:
            RuntimeError: the engine holds another policy's weights.
        """
        with self._final_failure():
            if version != self.version:
                raise RuntimeError(f"samples of {version} were requested, but this engine holds {self.version}")
            self._sleep.end()
            pending = self._enqueue(requests, sampling, for_learning)
            outputs: list[list[Any]] = [[None] * len(request.seeds) for request in requests]
            while pending:
                await self._next_step()
                complete = []
                for number in sorted(pending.keys() & self._finished.keys()):
                    place, index = pending.pop(number)
                    outputs[place][index] = self._finished.pop(number)
                    self._unreported += 1
                    if all(outputs[place]):
                        complete.append(self._drawn(place, requests[place], outputs[place]))
                if complete or self._unreported >= self._report_at:
                    finished, self._unreported = self._unreported, 0
                    yield Report(complete, finished)

    async def _next_step(self) -> None:
        """Waits for the engine's next step, one for all calls that wait; each then picks its own finished outputs."""
        if self._step is None or self._step.done():
            self._step = asyncio.ensure_future(self._take_step())
        await self._step

    async def _take_step(self) -> None:
        await asyncio.sleep(0)  # lets other calls begin, and return what is finished
        self._finished |= {int(output.request_id): output for output in self.llm.llm_engine.step() if output.finished}

    def _enqueue(self, requests: Sequence[Request], sampling: SamplingConfig, for_learning: bool) -> dict[int, tuple[int, int]]:
        """Submits every seed of every request to vLLM; returns (request index, seed index) by vLLM's request number."""
        from vllm import SamplingParams, TokensPrompt

        places = [(place, index) for place, request in enumerate(requests) for index in range(len(request.seeds))]
        ids = self.llm.enqueue(
            [TokensPrompt(prompt_token_ids=list(requests[place].prompt_ids)) for place, _ in places],
            [
                SamplingParams(
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                    top_k=0,
                    max_tokens=sampling.max_tokens,
                    seed=requests[place].seeds[index],
                    stop_token_ids=self.stop_ids,
                    # Only the drawn token's log-probability; the text is decoded once, below, except to find stop strings.
                    logprobs=0 if for_learning else None,
                    flat_logprobs=for_learning,
                    stop=list(requests[place].stop),
                    detokenize=bool(requests[place].stop),
                    skip_special_tokens=False,
                )
                for place, index in places
            ],
            use_tqdm=False,
        )
        # An id is the output's request number and a random suffix.
        return {int(name.partition("-")[0]): place for name, place in zip(ids, places, strict=True)}

    def _drawn(self, place: int, request: Request, outputs: list[Any]) -> Drawn:
        samples = [self._sample(request, seed, output.outputs[0]) for seed, output in zip(request.seeds, outputs, strict=True)]
        return Drawn(place, samples, sum(output.num_cached_tokens or 0 for output in outputs))

    def _sample(self, request: Request, seed: int, completion: Any) -> Sample:
        token_ids = tuple(completion.token_ids)
        text_ids = token_ids[:-1] if token_ids and token_ids[-1] in self.stop_ids else token_ids
        return Sample(
            prompt_ids=request.prompt_ids,
            token_ids=token_ids,
            logprobs=tuple(np.asarray(completion.logprobs.logprobs, dtype=np.float32).tolist()) if completion.logprobs else (),
            text=request.prefill + before_stop(decode(self.tokenizer, request, text_ids), request.stop),
            finish_reason=completion.finish_reason,
            version=self.version,
            seed=seed,
        )

    def ready(self) -> int:
        """The process id, once the engine has started, and between two steps of `sample`."""
        return os.getpid()


def preregister(model_path: str) -> None:
    """Registers the model's class before an engine starts on CPU, or vLLM would inspect it in a subprocess.

    The subprocess keeps CUDA out of its parent, but imports all of vLLM again: ten seconds for a class needed here anyway.
    """
    from transformers import AutoConfig
    from vllm import ModelRegistry

    for name in AutoConfig.from_pretrained(model_path, trust_remote_code=False).architectures:
        ModelRegistry.register_model(name, ModelRegistry.models[name].load_model_cls())


def rollout_actor(config: Config) -> Any:
    """The Ray actor class with the resources and environment of one engine."""
    environment = engine_environment(config)
    gpus = engine_gpus(config)
    return ray.remote(num_cpus=0 if gpus else 1, num_gpus=gpus, runtime_env={"env_vars": environment})(RolloutWorker)
