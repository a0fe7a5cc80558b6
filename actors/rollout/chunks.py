"""How a call's samples are split into chunks, the units that engines draw.

On CPU an engine draws a chunk alone and to its end before it takes the next, so that a chunk's log-probabilities depend on
nothing else. The end of a chunk, where few samples are left, is slow: chunks are as large as they may be while several engines
have work. The split depends on the requests alone, so a result does not depend on the number of engines or on timing.
"""

from collections.abc import Sequence

PARTS = 4  # of a call on CPU, and so the most engines that have work
FEW = 640  # samples below which a call has half as many: smaller chunks cost more in their slow ends than engines gain


def parts_on_cpu(samples: int) -> int:
    """
    >>> parts_on_cpu(160), parts_on_cpu(1280)
    (2, 4)
    """
    return PARTS if samples >= FEW else PARTS // 2


def split(sizes: Sequence[int], limit: int, least: int = 1) -> list[list[int]]:
    """Requests with `sizes` samples each, as consecutive chunks of nearly equal numbers of samples.

    Args:
        limit: samples of a chunk, exceeded only by less than one request's.
        least: chunks, if there are enough requests.

    Returns:
        The indices of each chunk's requests.

    >>> split([5, 5, 5, 5], limit=100, least=2)
    [[0, 1], [2, 3]]
    >>> split([2, 2, 2, 2, 2], limit=4)
    [[0, 1], [2, 3], [4]]
    """
    total = sum(sizes)
    count = max(least, -(-total // limit))
    chunks: list[list[int]] = [[] for _ in range(count)]
    before = 0
    for place, size in enumerate(sizes):
        chunks[before * count // total].append(place)
        before += size
    return [chunk for chunk in chunks if chunk]
