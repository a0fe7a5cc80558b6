"""Functions that are worked out where their arguments are numbers, and stay atoms where they are not."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

from pipeline.domain.graders.math.value import TooLargeError, Value, function, number

MAX_INTEGER = 2500  # of factorials, and factors of binomial coefficients
MAX_BINOMIAL = 10**6
_OF_LIST: dict[str, Callable[..., Fraction | int]] = {"max": max, "min": min, "gcd": math.gcd, "lcm": math.lcm}


class UnreadableError(ValueError):
    """Not an expression of the grammar, or one without a value (1/0)."""


def whole(value: Value) -> int:
    """The value of an integer; UnreadableError for any other."""
    constant = value.rational
    if constant is None or constant.denominator != 1:
        raise UnreadableError("not an integer")
    return constant.numerator


def factorial(value: Value) -> Value:
    if value.rational is None:
        return function("factorial", value)
    if (n := whole(value)) < 0:
        raise UnreadableError("the factorial of a negative number")
    if n > MAX_INTEGER:
        raise TooLargeError(f"the factorial of a number above {MAX_INTEGER}")
    return number(math.factorial(n))


def binomial(n: Value, k: Value) -> Value:
    if n.rational is None or k.rational is None:
        return function("binom", n, k)
    if whole(n) < 0 or whole(k) < 0:
        raise UnreadableError("a binomial coefficient of negative numbers")
    if min(whole(k), whole(n) - whole(k)) > MAX_INTEGER or whole(n) > MAX_BINOMIAL:
        raise TooLargeError(f"a binomial coefficient above {MAX_INTEGER}")
    return number(math.comb(whole(n), whole(k)))


def absolute(value: Value) -> Value:
    constant = value.rational
    return function("abs", value) if constant is None else number(abs(constant))


def rounded(name: str, value: Value) -> Value:
    """`floor` or `ceil`."""
    constant = value.rational
    if constant is None:
        return function(name, value)
    return number(math.floor(constant) if name == "floor" else math.ceil(constant))


def of_list(name: str, values: Sequence[Value]) -> Value:
    """`max`, `min`, `gcd` or `lcm`."""
    constants = [constant for value in values if (constant := value.rational) is not None]
    if len(constants) < len(values) == 1:
        raise UnreadableError(f"the {name} of one expression")  # over what it varies
    if len(constants) < len(values):
        return function(name, *values)
    return number(_OF_LIST[name](*map(whole, values)) if name in ("gcd", "lcm") else _OF_LIST[name](constants))
