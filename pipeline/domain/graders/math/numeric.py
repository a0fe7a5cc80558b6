"""Values in floating point, at fixed made-up values of their letters: enough to tell most unequal expressions apart."""

import cmath
import math
import zlib
from collections.abc import Callable
from fractions import Fraction

from pipeline.domain.graders.math.value import Base, Sum, Value

TOLERANCE = 1e-9  # relative; two expressions that differ by less may be equal, and a judge has to be asked
_ROUNDING = 1e-12  # of the largest term of a sum
_CONSTANTS = {"e": complex(math.e), r"\pi": complex(math.pi), "i": 1j}


def _real(function: Callable[..., float]) -> Callable[..., complex]:
    """A function of real numbers; ValueError for any other."""

    def of_reals(*args: complex) -> complex:
        if any(abs(x.imag) > 1e-12 * max(1.0, abs(x)) for x in args):
            raise ValueError("not a real number")
        return complex(function(*(x.real for x in args)))

    return of_reals


FUNCTIONS: dict[str, Callable[..., complex]] = {
    **{name: getattr(cmath, name) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    **{f"arc{name[1:]}": getattr(cmath, name) for name in ("asin", "acos", "atan")},
    "sec": lambda x: 1 / cmath.cos(x),
    "csc": lambda x: 1 / cmath.sin(x),
    "cot": lambda x: 1 / cmath.tan(x),
    "ln": cmath.log,
    "log": lambda x, base: cmath.log(x) / cmath.log(base),
    "abs": lambda x: complex(abs(x)),
    "floor": _real(math.floor),
    "ceil": _real(math.ceil),
    "factorial": _real(lambda x: math.gamma(x + 1)),
    "binom": _real(lambda n, k: math.gamma(n + 1) / (math.gamma(k + 1) * math.gamma(n - k + 1))),
    "max": _real(max),
    "min": _real(min),
    "pow": lambda base, exponent: base**exponent,
}


def approximate(value: Value, draw: int = 0) -> tuple[complex, float]:
    """The value and a bound on its error, with the letters set to the `draw`th of their made-up values.

    Raises:
        ArithmeticError, ValueError: no finite value within the range of floats.
    """
    (top, error), (bottom, uncertainty) = _sum(value.top, draw), _sum(value.bottom, draw)
    if abs(bottom) <= 10 * uncertainty:
        raise ZeroDivisionError("a denominator that may be 0")
    result = top / bottom
    if not cmath.isfinite(result) or (value.top and result == 0 == error):
        raise OverflowError("beyond the range of floats")
    return result, (error + abs(result) * uncertainty) / abs(bottom)


def agree(a: Value, b: Value) -> bool:
    """Whether the values are the same as far as floats can tell; False where one of them has no value within their range."""
    try:
        for draw in range(2):
            (one, error), (other, uncertainty) = approximate(a, draw), approximate(b, draw)
            if abs(one - other) > max(TOLERANCE * max(abs(one), abs(other)), error + uncertainty):
                return False
    except (ArithmeticError, ValueError, RecursionError):
        return False
    return True


def _sum(terms: Sum, draw: int) -> tuple[complex, float]:
    total, size = complex(0), 0.0
    for monomial, factor in terms.items():
        term = complex(float(factor))
        for base, exponent in monomial:
            term *= _base(base, draw) ** _float(exponent)
        total += term
        size = max(size, abs(term))
    return total, _ROUNDING * size


def _float(exponent: Fraction) -> float | int:
    return exponent.numerator if exponent.denominator == 1 else float(exponent)


def _base(base: Base, draw: int) -> complex:
    if isinstance(base, int):
        return complex(base)
    if isinstance(base, str):
        return _CONSTANTS.get(base) or _made_up(base, draw)
    if base.name in FUNCTIONS:
        return FUNCTIONS[base.name](*(approximate(argument, draw)[0] for argument in base.args))
    values = [f"{value:.9g}" for value in (approximate(argument, draw)[0] for argument in base.args)]
    return _made_up(" ".join([base.name, *values]), draw)  # a function that is not known, such as f(2)


def _made_up(name: str, draw: int) -> complex:
    """Between 0.6 and 2.3."""
    return complex(0.6 + 1.7 * zlib.crc32(f"{name} {draw}".encode("utf-8", "replace")) / 2**32)
