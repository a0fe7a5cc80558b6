"""What vLLM mixes into the processes of an engine that is split over ranks on a CPU; they import it before they load a model."""

from actors.weights.vllm_load import keep_cpu_weights_loadable

keep_cpu_weights_loadable()


class CpuWorker:
    """Adds nothing: what counts is the import."""
