"""Rollout worker: one vLLM engine in a Ray actor, which draws responses under whichever policy it was given last."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from conf.schema import Config, SamplingConfig
from pipeline.types import Checksums, Request, Sample


@dataclass(frozen=True, slots=True)
class Drawn:
    """The finished samples of a chunk's request number `place`; `cached_tokens` of their prompts were in the prefix cache."""

    place: int
    samples: list[Sample]
    cached_tokens: int


def engine_environment(config: Config) -> dict[str, str]:
    """Environment of a rollout worker's process, which must be set before vLLM is imported."""
    environment = {
        # The engine runs in the actor's own process: weights reach it without a copy, and it dies with the actor.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        # Lets functions and arrays of ours reach the processes of an engine that is split over several GPUs.
        "VLLM_ALLOW_INSECURE_SERIALIZATION": "1",
    }
    if config.resources.device == "cpu":
        environment |= {
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "OMP_NUM_THREADS": "1",
            # Eager mode leaves one compiled function in the sampler, which would ask for a C++ compiler.
            "TORCHDYNAMO_DISABLE": "1",
            # Threads that spin while they wait take the core from the neighbour.
            "OMP_WAIT_POLICY": "passive",
            "GOMP_SPINCOUNT": "0",
        }
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
            # A seeded request whose prefill is cut in chunks would rewind its generator, which CPU generators cannot do.
            engine: dict[str, Any] = {"kv_cache_memory_bytes": config.rollout.kv_cache_mb << 20, "enable_chunked_prefill": False}
        else:
            engine = {"gpu_memory_utilization": config.rollout.gpu_memory_utilization}
            if config.rollout.tensor_parallel > 1:
                # One process a GPU, children of this one: they see the GPUs that Ray gave this actor, all of one node.
                engine |= {"tensor_parallel_size": config.rollout.tensor_parallel, "distributed_executor_backend": "mp"}
        if config.rollout.transfer == "shared":
            import actors.weights.shared  # noqa: F401  (makes it known to vLLM)
        if config.rollout.transfer != "host":
            engine["weight_transfer_config"] = WeightTransferConfig(backend=config.rollout.transfer)
        dtype: Any = config.model.dtype
        self.llm = LLM(
            model=model_path,
            dtype=dtype,
            max_model_len=config.model.max_length,
            max_num_seqs=config.rollout.max_num_seqs,
            enforce_eager=config.resources.device == "cpu",
            enable_prefix_caching=True,
            # The log-probabilities of the distribution that is drawn from: temperature and top-p applied.
            logprobs_mode="processed_logprobs",
            seed=0,
            **engine,
        )
        self.tokenizer: Any = AutoTokenizer.from_pretrained(model_path)
        self.stop_ids = end_of_sequence_ids(self.llm, self.tokenizer)
        self.version = "none"
        self._finished: dict[int, Any] = {}  # outputs by vLLM's number, until the call they belong to picks them up
        self._failure: Exception | None = None

    @contextmanager
    def _final_failure(self) -> Iterator[None]:
        """An engine in which something failed (CUDA out of memory, say) is in an unknown state, so each later call fails as well.

        The traceback goes to the actor's log, the error to the fleet, which ends this process and starts another.
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
        """Takes on weights, which Ray maps as read-only shared memory, a bucket at a time.

        `accept`, which the fleet calls next, gives them their version, or raises what failed here.
        """
        from actors.weights.vllm_load import load_into_engine

        self.version = "none"
        with suppress(Exception), self._final_failure():
            load_into_engine(self.llm, map(ray.get, buckets))

    def weight_transfer(self, *calls: tuple[Any, ...]) -> None:
        """Calls of vLLM's weight-transfer API, in every process of the engine; each is a name and arguments.

        The learner makes them, and an engine's failure is not its concern: `accept` raises it.
        """
        self.version = "none"
        with suppress(Exception), self._final_failure():
            for name, *arguments in calls:
                self.llm.collective_rpc(name, args=tuple(arguments))

    def accept(self, version: str, checksums: Checksums) -> list[str]:
        """Names what `load` or `weight_transfer` brought; returns the parameters that do not hold it, see `vllm_load.confirm`."""
        from actors.weights.vllm_load import confirm

        with self._final_failure():
            wrong = confirm(self.llm, checksums)
        self.version = version
        return wrong

    async def sample(
        self, requests: Sequence[Request], sampling: SamplingConfig, version: str, for_learning: bool = True
    ) -> AsyncIterator[list[Drawn]]:
        """Draws a chunk under policy `version` and yields its requests as they are finished, whichever are first.

        Temperature 0 is not drawn: it takes the likeliest token. Calls may overlap, and then share the engine's batches. A call
        that is alone gives what follows from its requests and the weights alone: what an earlier one left in the prefix cache
        would change the shape of the computation, and with it the last bit of a probability.

        Raises:
            RuntimeError: the engine holds another policy's weights.
        """
        with self._final_failure():
            if version != self.version:
                raise RuntimeError(f"asked for samples of {version}, but this engine holds {self.version}")
            engine = self.llm.llm_engine
            if not engine.has_unfinished_requests():
                self.llm.reset_prefix_cache()
            wanted = self._enqueue(requests, sampling, for_learning)
            outputs: list[list[Any]] = [[None] * len(request.seeds) for request in requests]
            while wanted:
                # A step serves all calls that are under way, and each picks its own of what was finished.
                self._finished |= {int(output.request_id): output for output in engine.step() if output.finished}
                complete = []
                for number in sorted(wanted.keys() & self._finished.keys()):
                    place, index = wanted.pop(number)
                    outputs[place][index] = self._finished.pop(number)
                    if all(outputs[place]):
                        complete.append(self._drawn(place, requests[place], outputs[place]))
                if complete:
                    yield complete
                await asyncio.sleep(0)  # lets other calls go on

    def _enqueue(self, requests: Sequence[Request], sampling: SamplingConfig, for_learning: bool) -> dict[int, tuple[int, int]]:
        """Hands all seeds of all requests to vLLM; returns where each belongs, (request, seed), by vLLM's number for it."""
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
                    # The drawn token's own log-probability and no other; text is decoded once, below.
                    logprobs=0 if for_learning else None,
                    flat_logprobs=for_learning,
                    detokenize=False,
                )
                for place, index in places
            ],
            use_tqdm=False,
        )
        # An id is the number under which the output comes back, and a random suffix.
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
            text=self.tokenizer.decode(list(text_ids), skip_special_tokens=False),
            finish_reason=completion.finish_reason,
            version=self.version,
            seed=seed,
        )

    def ready(self) -> bool:
        """Returns once the engine has started."""
        return True


def preregister(model_path: str) -> None:
    """Call before an engine starts on CPU: the first time, vLLM would look at a model's class in a process of its own.

    That keeps CUDA out of its parent, but it imports all of vLLM once more, ten seconds for a class that is needed here anyway.
    """
    from transformers import AutoConfig
    from vllm import ModelRegistry

    for name in AutoConfig.from_pretrained(model_path).architectures:
        ModelRegistry.register_model(name, ModelRegistry.models[name].load_model_cls())


def end_of_sequence_ids(llm: Any, tokenizer: Any) -> list[int]:
    """Tokens that end a response: the model's and the tokenizer's, which differ where a chat template is used on a base model."""
    ids = llm.model_config.try_get_generation_config().get("eos_token_id") or []
    ids = {ids} if isinstance(ids, int) else set(ids)
    return sorted(ids | ({tokenizer.eos_token_id} - {None}))


def rollout_actor(config: Config) -> Any:
    """The Ray actor class with the resources and environment of one engine."""
    environment = engine_environment(config)
    gpus = config.resources.rollout_gpus * config.rollout.tensor_parallel if config.resources.device == "cuda" else 0
    return ray.remote(num_cpus=0 if gpus else 1, num_gpus=gpus, runtime_env={"env_vars": environment})(RolloutWorker)
