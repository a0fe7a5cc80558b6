r"""Environments: matrices, also with a factor in front (`\frac12\begin{pmatrix}2\\4\end{pmatrix}`), and systems of equations."""

import re
from collections.abc import Callable

from pipeline.domain.graders.math.nodes import Group, Node, Quantity
from pipeline.domain.graders.math.quantities import quantity

_MATRIX = re.compile(
    r"([^,;=<>]*?)(?:\\cdot)? ?(?:\[|\()? ?\\begin\{([a-zA-Z]*)\*?\} ?(?:\{[lcr| ]*\})?"
    r"((?:(?!\\begin|\\end).)*)\\end\{\2\*?\} ?(?:\]|\))?"
)
_ALIGNED = re.compile(r"[^&]*& ?(?:[=<>]|\\[lg]e(?![a-zA-Z]))[^&]*")
_RELATION = re.compile(r"[=<>]|\\[lg]e(?![a-zA-Z])|^ *$")
_ARRAYS = ("pmatrix", "bmatrix", "matrix", "array", "smallmatrix")


def matrix(content: str, read: Callable[[str], Node]) -> Node | None:
    """A single matrix, each cell times the factor, or a system of equations; None for anything else."""
    if (match := _MATRIX.fullmatch(content)) is None:
        return None
    factor, name, body = match[1].strip(), match[2], match[3]
    if all(map(_ALIGNED.fullmatch, filter(str.strip, body.split(r"\\")))):
        body = body.replace("&", "")
    if name == "cases":  # a value and when it holds
        body = re.sub(r"\\text\{(?:if|for|when|where)\}|,(?= ?&)", "", body)
    if factor in ("", r"\{") and body.strip() and "&" not in body and all(map(_RELATION.search, body.split(r"\\"))):
        return read(",".join(body.split(r"\\")))  # a system of equations
    if factor in ("+", "-"):
        factor += "1"
    if factor and (name not in _ARRAYS or not isinstance(quantity(factor), Quantity)):
        return None
    rows = [row.split("&") for row in body.split(r"\\") if row.strip()]
    cells = [[f"({factor})({cell})" if factor else cell for cell in row] for row in rows]
    return Group("matrix" if name in _ARRAYS else name, tuple(Group("row", tuple(map(read, row))) for row in cells))
