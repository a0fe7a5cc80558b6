"""Tables in Markdown whose cells no value can break out of."""

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """
    >>> print(table(("a", "b"), [(1, "x|y")]))
    | a | b |
    |---|---|
    | 1 | x\\|y |
    """
    lines = [header, *([text(cell) for cell in row] for row in rows)]
    head, *body = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, "|---" * len(header) + "|", *body])


def text(value: object) -> str:
    """A value as one line of Markdown that cannot leave its cell."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")
