"""How a call's requests are split into chunks, the units that engines draw."""

from collections.abc import Sequence


def split(sizes: Sequence[int], limit: int) -> list[list[int]]:
    """Requests with `sizes` samples each, as consecutive chunks of nearly equal numbers of samples.

    Args:
        limit: samples of a chunk, exceeded only by less than one request's.

    Returns:
        The indices of each chunk's requests.

    >>> split([2, 2, 2, 2, 2], limit=4)
    [[0, 1], [2, 3], [4]]
    """
    total = sum(sizes)
    count = -(-total // limit)
    chunks: list[list[int]] = [[] for _ in range(count)]
    before = 0
    for place, size in enumerate(sizes):
        chunks[before * count // total].append(place)
        before += size
    return [chunk for chunk in chunks if chunk]
