"""How many threads the learner computes in on CPU, such that their number changes no result."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# More threads split the matrix products of small models along the summed dimension, which changes their last bits.
MOST_THREADS = 4


def use_threads(number: int, device: torch.device) -> None:
    """Has torch compute in this many threads; on CPU, where they compute the loss, in `MOST_THREADS` at most."""
    torch.set_num_threads(min(number, MOST_THREADS) if device.type == "cpu" else number)


@contextmanager
def one_thread() -> Iterator[None]:
    """Runs torch's CPU operations in one thread.

    Of a sum over all elements of a large tensor each thread adds up a part, so that the result would depend on their number. In
    the forward and backward passes, with up to `MOST_THREADS`, every element of a result is computed by one thread.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
