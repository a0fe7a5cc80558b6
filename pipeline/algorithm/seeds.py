"""Every random draw of a run has its own seed, derived from the draw's identity.

No generator is shared or advanced, so that a resumed run, another number of workers or another order of work draws exactly the
same.
"""

import hashlib
from collections.abc import Sequence

from pipeline.types import EncodedPrompt, Request


def derive_seed(run_seed: int, *path: int | str) -> int:
    """A 63-bit seed for the draw named by `path`, e.g. (round, phase, step, prompt index, sample index).

    >>> derive_seed(0, 1, "challenger", 0, 0) != derive_seed(0, 1, "challenger", 0, 1)
    True
    """
    name = "/".join(map(str, (run_seed, *path)))
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") >> 1


def seeded_requests(
    run_seed: int, prompts: Sequence[EncodedPrompt], count: int, *path: int | str, first: int = 0
) -> list[Request]:
    """Requests for `count` samples of each prompt, each with its own seed under `path`; prompts are numbered from `first`."""
    return [
        prompt.request([derive_seed(run_seed, *path, index, sample) for sample in range(count)])
        for index, prompt in enumerate(prompts, start=first)
    ]
