"""Values as numbers, at fixed made-up values of their letters.

In floating point that tells most unequal expressions apart; in fifty digits it decides whether two constants are equal.
"""

import cmath
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import mpmath

from pipeline.domain.graders.math.value import Atom, Base, Sum, Value

TOLERANCE = 1e-9  # relative; two expressions that differ by less may be equal
DIGITS = 50
Number = Any  # a complex number of Python, or one of mpmath


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Complex numbers of some precision: from a quotient of integers, functions of them, and the relative error of a sum."""

    of: Callable[[Fraction], Number]
    functions: Mapping[str, Callable[..., Number]]
    rounding: float
    tolerance: float  # relative, of what counts as equal


def _functions(library: Any, reals: Any, pi: Number, near: float) -> dict[str, Callable[..., Number]]:
    """The functions that are known, from a library with those of `cmath`, and one with those of `math`.

    What is as near to an integer as this is taken for it, before it is rounded down or up: log_10 1000 is 2.9999999999999996.
    """

    def real(function: Callable[..., Number]) -> Callable[..., Number]:
        """A function of real numbers; ValueError for any other."""

        def of_reals(*args: Number) -> Number:
            if any(abs(x.imag) > 1e-12 * max(1.0, abs(x)) for x in args):
                raise ValueError("not a real number")
            return function(*(x.real for x in args)) + 0j

        return of_reals

    def rounded(function: Callable[[Number], Number]) -> Callable[..., Number]:
        def of_near(x: Number) -> Number:
            nearest = reals.floor(x + 0.5)
            return nearest if abs(x - nearest) <= near * max(1, abs(x)) else function(x)

        return real(of_near)

    gamma = reals.gamma
    return {
        **{name: getattr(library, name) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
        **{f"arc{name[1:]}": getattr(library, name) for name in ("asin", "acos", "atan")},
        "sec": lambda x: 1 / library.cos(x),
        "csc": lambda x: 1 / library.sin(x),
        "cot": lambda x: 1 / library.tan(x),
        "ln": library.log,
        "log": lambda x, base: library.log(x) / library.log(base),
        "abs": lambda x: abs(x) + 0j,
        "floor": rounded(reals.floor),
        "ceil": rounded(reals.ceil),
        "factorial": real(lambda x: gamma(x + 1)),
        "binom": real(lambda n, k: gamma(n + 1) / (gamma(k + 1) * gamma(n - k + 1))),
        "max": real(max),
        "min": real(min),
        "pow": lambda base, exponent: base**exponent,
        r"\pi": lambda: pi + 0j,
        "e": lambda: library.exp(1) + 0j,
        "i": lambda: pi * 0 + 1j,
    }


_MP = mpmath.MPContext()
_MP.dps = DIGITS
FLOATS = Arithmetic(lambda value: complex(float(value)), _functions(cmath, math, math.pi, TOLERANCE), 1e-12, TOLERANCE)
PRECISE = Arithmetic(
    lambda value: _MP.mpc(_MP.mpf(value.numerator) / value.denominator), _functions(_MP, _MP, +_MP.pi, 1e-40), 1e-45, 1e-40
)


def approximate(value: Value, draw: int = 0, numbers: Arithmetic = FLOATS) -> tuple[Number, Number]:
    """The value and a bound on its error, with the letters set to the `draw`th of their made-up values.

    Raises:
        ArithmeticError, ValueError: no finite value within the range of floats.
    """
    (top, error), (bottom, uncertainty) = _sum(value.top, draw, numbers), _sum(value.bottom, draw, numbers)
    if abs(bottom) <= 10 * uncertainty:
        raise ZeroDivisionError("a denominator that may be 0")
    result = top / bottom
    if not cmath.isfinite(complex(result)) or (value.top and result == 0 == error):
        raise OverflowError("beyond the range of floats")
    return result, (error + abs(result) * uncertainty) / abs(bottom)


def agree(a: Value, b: Value, numbers: Arithmetic = FLOATS) -> bool:
    """Whether the values are the same as far as numbers can tell; False where one of them has no value within their range.

    Call it with `PRECISE` only where floats agree: these numbers have no range, and would work out `9^{9^{9^9}}`.
    """
    try:
        for draw in range(2):
            (one, error), (other, uncertainty) = approximate(a, draw, numbers), approximate(b, draw, numbers)
            if abs(one - other) > max(numbers.tolerance * max(abs(one), abs(other)), error + uncertainty):
                return False
    except (ArithmeticError, ValueError, RecursionError):
        return False
    return True


def _sum(terms: Sum, draw: int, numbers: Arithmetic) -> tuple[Number, Number]:
    total, size = numbers.of(Fraction(0)), 0.0
    for monomial, factor in terms.items():
        term = numbers.of(factor)
        for base, exponent in monomial:
            term *= _raised(_base(base, draw, numbers), exponent, numbers)
        total += term
        size = max(size, abs(term))
    return total, numbers.rounding * size


def _raised(base: Number, exponent: Fraction, numbers: Arithmetic) -> Number:
    """The principal power, but the real one for odd roots of negative numbers, as in `value.power`."""
    if exponent.denominator == 1:
        return base**exponent.numerator
    power = numbers.of(exponent).real
    if exponent.denominator % 2 and base.imag == 0 and base.real < 0:
        return (-1) ** exponent.numerator * (-base) ** power
    return base**power


def _base(base: Base, draw: int, numbers: Arithmetic) -> Number:
    if isinstance(base, int):
        return numbers.of(Fraction(base))
    if not isinstance(base, Atom):
        return numbers.functions[base]() if base in ("e", "i", r"\pi") else _made_up(base, draw, numbers)
    if base.name in numbers.functions:
        return numbers.functions[base.name](*(approximate(argument, draw, numbers)[0] for argument in base.args))
    values = [f"{complex(value):.9g}" for value in (approximate(argument, draw, numbers)[0] for argument in base.args)]
    return _made_up(" ".join([base.name, *values]), draw, numbers)  # a function that is not known, such as f(2)


def _made_up(name: str, draw: int, numbers: Arithmetic) -> Number:
    """Between 0.6 and 2.3."""
    return numbers.of(Fraction(6, 10) + Fraction(17 * zlib.crc32(f"{name} {draw}".encode("utf-8", "replace")), 10 * 2**32))
