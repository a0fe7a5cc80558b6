r"""Exact arithmetic on expressions: quotients of sums of products of powers, with rational coefficients and exponents.

Every value has one form, so comparing two forms compares the values: numbers, radicals, powers of pi and e, complex numbers,
polynomials and quotients of them. That is exact, because products of distinct fractional powers of primes are linearly
independent over the rationals. Only functions and symbolic powers (`Atom`) satisfy identities that this arithmetic does not know.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

MAX_BITS = 1 << 15  # of a coefficient
MAX_TERMS = 150
MAX_DEGREE = 12  # of a power of a sum with letters
MAX_POWER = 10_000  # of one of constants, whose terms stay few: its degree times the square of their number
MAX_RADICAND = 10**8
_ONE = Fraction(1)


class TooLargeError(ValueError):
    """A value beyond the limits of this arithmetic."""


@dataclass(frozen=True, slots=True)
class Atom:
    """A function of values that is not worked out: `sin` of x, or `pow`, the base (first argument) to a symbolic exponent."""

    name: str
    args: tuple["Value", ...]


Base = str | int | Atom  # a symbol, a prime, or an atom
Monomial = frozenset[tuple[Base, Fraction]]
Sum = dict[Monomial, Fraction]
_UNIT: Monomial = frozenset()


class Value:
    """`top / bottom`, both sums of monomials; a bottom of one term is always folded into the top."""

    def __init__(self, top: Sum, bottom: Sum | None = None) -> None:
        self.top, self.bottom = top, bottom or {_UNIT: _ONE}

    @cached_property
    def _key(self) -> tuple[frozenset[tuple[Monomial, Fraction]], frozenset[tuple[Monomial, Fraction]]]:
        return frozenset(self.top.items()), frozenset(self.bottom.items())

    def __eq__(self, other: object) -> bool:
        """Equality of form: that of arguments of atoms. `same` compares values."""
        return isinstance(other, Value) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def same(self, other: "Value") -> bool:
        return self._key == other._key or _multiply(self.top, other.bottom) == _multiply(other.top, self.bottom)

    @property
    def rational(self) -> Fraction | None:
        """The value where it is a rational number."""
        if len(self.top) > 1 or len(self.bottom) > 1:
            return None
        return self.top.get(_UNIT) if self.top else Fraction(0)

    @cached_property
    def bases(self) -> frozenset[Base]:
        """All symbols, primes and atoms, those inside atoms included."""
        found: set[Base] = set()
        for monomial in (*self.top, *self.bottom):
            for base, _ in monomial:
                found.add(base)
                if isinstance(base, Atom):
                    found.update(*(argument.bases for argument in base.args))
        return frozenset(found)

    @property
    def exact(self) -> bool:
        """Whether two different forms are certainly two different values."""
        return not any(isinstance(base, Atom) for base in self.bases)

    @property
    def letters(self) -> frozenset[str]:
        """The symbols that stand for something unknown."""
        return frozenset(base for base in self.bases if isinstance(base, str) and base not in ("e", "i", r"\pi"))

    def __add__(self, other: "Value") -> "Value":
        if self.bottom == other.bottom:
            return Value(_add(self.top, other.top), self.bottom)
        top = _add(_multiply(self.top, other.bottom), _multiply(other.top, self.bottom))
        return Value(top, _multiply(self.bottom, other.bottom))

    def __neg__(self) -> "Value":
        return Value({monomial: -factor for monomial, factor in self.top.items()}, self.bottom)

    def __sub__(self, other: "Value") -> "Value":
        return self + -other

    def __mul__(self, other: "Value") -> "Value":
        return Value(_multiply(self.top, other.top), _multiply(self.bottom, other.bottom))

    def __truediv__(self, other: "Value") -> "Value":
        return self * other.inverse()

    def inverse(self) -> "Value":
        """Raises ZeroDivisionError for 0."""
        if not self.top:
            raise ZeroDivisionError("division by zero")
        if len(self.top) > 1:
            return Value(self.bottom, self.top)
        ((monomial, factor),) = self.top.items()
        inverse = _normal({base: -exponent for base, exponent in monomial}, 1 / factor)
        return Value(_multiply(self.bottom, dict([inverse])))


def number(value: Fraction | int) -> Value:
    return Value({_UNIT: Fraction(value)} if value else {})


def symbol(name: str) -> Value:
    return _one(name, _ONE)


def function(name: str, *args: Value) -> Value:
    return _one(Atom(name, args), _ONE)


def _one(base: Base, exponent: Fraction) -> Value:
    return Value(dict([_normal({base: exponent}, _ONE)]))


def power(base: Value, exponent: Value) -> Value:
    """base^exponent; the principal root, but the real one for odd roots of negative numbers.

    Raises:
        TooLargeError: the result is beyond the limits.
        ZeroDivisionError: a power of 0 that does not exist.
    """
    degree = exponent.rational
    if degree is not None:
        if not base.top and degree <= 0:
            raise ZeroDivisionError("0 to a power that is not positive")
        return _integer_power(base, degree.numerator) if degree.denominator == 1 else _root(base, degree)
    if len(exponent.bottom) > 1 or not base.top:
        return function("pow", base, exponent)
    result = number(1)
    for monomial, factor in exponent.top.items():  # b^(2n+1) = b (b^n)^2
        rest = Value({monomial: _ONE})
        constant = base.rational
        if monomial == _UNIT:
            result *= power(base, number(factor))
        elif constant is not None and constant > 0:
            for prime, times in _factors(constant).items():
                result *= _one(Atom("pow", (number(prime), rest)), times * factor)
        else:
            result *= _one(Atom("pow", (base, rest)), factor)
    return result


def _integer_power(base: Value, degree: int) -> Value:
    if degree < 0:
        return _integer_power(base.inverse(), -degree)
    if len(base.top) <= 1 and len(base.bottom) == 1:
        if not base.top:
            return base
        ((monomial, factor),) = base.top.items()
        if max(factor.numerator.bit_length(), factor.denominator.bit_length()) * degree > 2 * MAX_BITS and abs(factor) != 1:
            raise TooLargeError(f"a power of more than {MAX_BITS} bits")
        return Value(dict([_normal({part: exponent * degree for part, exponent in monomial}, factor**degree)]))
    constant = all(isinstance(part, int) or part == "i" for part in base.bases)
    if degree > MAX_DEGREE and (not constant or degree * len(base.top) ** 2 > MAX_POWER):
        raise TooLargeError(f"a power of degree {degree}")
    result = number(1)
    while degree:
        if degree % 2:
            result *= base
        degree //= 2
        base = base * base if degree else base
    return result


def _root(base: Value, degree: Fraction) -> Value:
    """base to a fractional power: factor by factor where that holds for every value of the letters, else an atom."""
    if len(base.top) == 1 and len(base.bottom) == 1:
        ((monomial, factor),) = base.top.items()
        sign = number(1)
        if factor < 0 and degree.denominator % 2:
            sign = number(-1 if degree.numerator % 2 else 1)
        elif factor < 0 and degree.denominator == 2 and all(isinstance(part, int) or part == r"\pi" for part, _ in monomial):
            sign = power(symbol("i"), number(degree.numerator))
        elif factor < 0:
            return _one(Atom("pow", (base, number(1))), degree)
        splits = all(
            isinstance(part, int) or (isinstance(part, str) and part != "i" and times.numerator % 2) for part, times in monomial
        )
        if splits or not monomial:
            parts = {part: times * degree for part, times in monomial}
            try:
                primes = _factors(abs(factor))
            except TooLargeError:
                return _one(Atom("pow", (base, number(1))), degree)
            for prime, times in primes.items():
                parts[prime] = parts.get(prime, Fraction(0)) + times * degree
            return sign * Value(dict([_normal(parts, _ONE)]))
    return _one(Atom("pow", (base, number(1))), degree)


def _factors(value: Fraction) -> dict[int, int]:
    """The exponents of the primes of a positive rational number."""
    found: dict[int, int] = {}
    for whole, sign in ((value.numerator, 1), (value.denominator, -1)):
        if whole > MAX_RADICAND:
            raise TooLargeError(f"a root of a number above {MAX_RADICAND}")
        divisor = 2
        while divisor * divisor <= whole:
            while whole % divisor == 0:
                found[divisor] = found.get(divisor, 0) + sign
                whole //= divisor
            divisor += 1 + (divisor > 2)
        if whole > 1:
            found[whole] = found.get(whole, 0) + sign
    return found


def _normal(parts: dict[Base, Fraction], factor: Fraction) -> tuple[Monomial, Fraction]:
    """A monomial in normal form: primes with exponents in [0, 1), no i^2."""
    kept: list[tuple[Base, Fraction]] = []
    for base, exponent in parts.items():
        if isinstance(base, int):
            whole = exponent.numerator // exponent.denominator
            if whole:
                if abs(whole) * base.bit_length() > 2 * MAX_BITS:
                    raise TooLargeError(f"a power of more than {MAX_BITS} bits")
                factor *= Fraction(base) ** whole
            exponent -= whole
        elif base == "i" and exponent.denominator == 1:
            turns = exponent.numerator % 4
            factor, exponent = -factor if turns > 1 else factor, Fraction(turns % 2)
        if exponent:
            kept.append((base, exponent))
    return _checked(frozenset(kept), factor)


def _checked(monomial: Monomial, factor: Fraction) -> tuple[Monomial, Fraction]:
    if max(factor.numerator.bit_length(), factor.denominator.bit_length()) > MAX_BITS:
        raise TooLargeError(f"a number of more than {MAX_BITS} bits")
    return monomial, factor


def _add(a: Sum, b: Sum) -> Sum:
    total = dict(a)
    for monomial, factor in b.items():
        _accumulate(total, monomial, factor)
    if len(total) > MAX_TERMS:
        raise TooLargeError(f"a sum of more than {MAX_TERMS} terms")
    return total


def _multiply(a: Sum, b: Sum) -> Sum:
    if len(a) * len(b) > 10 * MAX_TERMS:
        raise TooLargeError("a product of too many terms")
    total: Sum = {}
    for first, one in a.items():
        for second, other in b.items():
            if not first or not second:
                _accumulate(total, *_checked(first or second, one * other))
                continue
            parts = dict(first)
            for base, exponent in second:
                parts[base] = parts.get(base, 0) + exponent
            _accumulate(total, *_normal(parts, one * other))
    return total


def _accumulate(total: Sum, monomial: Monomial, factor: Fraction) -> None:
    factor += total.get(monomial, 0)
    if factor:
        total[monomial] = factor
    else:
        total.pop(monomial, None)
