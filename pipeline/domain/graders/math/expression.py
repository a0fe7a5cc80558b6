r"""From LaTeX to a `Value`: a recursive-descent parser of a small grammar, for text that `clean.py` has been over.

What the grammar does not cover it refuses, instead of reading a part of it: an answer that is refused is compared as text.
"""

import re
from fractions import Fraction

from pipeline.domain.graders.math.cursor import MAX_REPEATED, Cursor
from pipeline.domain.graders.math.functions import UnreadableError, absolute, binomial, factorial, of_list, rounded, whole
from pipeline.domain.graders.math.value import TooLargeError, Value, function, number, power, symbol
from pipeline.domain.graders.math.vocabulary import FUNCTIONS, GREEK, OF_LISTS

MAX_NESTING = 40
MAX_EXPONENT = 20_000  # decimal

_ACCENTS = ("dot", "ddot", "hat", "bar", "tilde", "vec", "overline", "mathcal")
_DIGITS = "0123456789."
_DERIVATIVE = re.compile(r"\^\{\((?:[0-9]+|[nk])\)\}")  # f^{(4)}
_CLOSING = {"(": ")", "[": "]", "{": "}", r"\{": r"\}"}
_ROUNDED = {"lfloor": ("floor", r"\rfloor"), "lceil": ("ceil", r"\rceil")}


def parse(text: str) -> Value:
    """The value of an expression.

    Raises:
        UnreadableError: the text is no expression that this grammar covers.
        TooLargeError: it is one, but its value is beyond the limits of the arithmetic.
    """
    parser = _Parser(text)
    try:
        value = parser.sum()
    except ZeroDivisionError as error:
        raise UnreadableError("division by zero") from error
    if parser.peek():
        raise UnreadableError(f"unexpected {parser.peek()!r}")
    return value


def _is_letter(token: str) -> bool:
    return (token.isascii() and token.isalpha()) or token[1:] in GREEK or token == r"\pi"


class _Parser(Cursor):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nesting = 0
        self._inside = 0  # how many absolute values are open
        self._bound: dict[str, Value] = {}  # the running index of a sum or product

    def sum(self) -> Value:
        total = self._product()
        while self.peek() in ("+", "-"):
            sign = self.next()
            term = self._product()
            total = total + term if sign == "+" else total - term
        return total

    def _product(self) -> Value:
        value = self._signed()
        while token := self.peek():
            if token in ("*", r"\cdot"):
                self.next()
                value *= self._signed()
            elif token in ("/", r"\div"):
                self.next()
                value /= self._divisor()
            elif self._begins_factor(token):
                value *= self._power()
            else:
                break
        return value

    def _divisor(self) -> Value:
        r"""Letters side by side after `/` are one divisor, `AB/AC` and `t/RC`; after a number they are not: `1/2x` is x/2."""
        letters = _is_letter(self.peek())
        value = self._signed()
        while letters and _is_letter(self.peek()):
            value *= self._power()
        return value

    def _begins_factor(self, token: str) -> bool:
        if token[0] in _DIGITS and self.before() != "!" and (self.ahead(2)[1:] != ["^"] or self.before()[-1] in _DIGITS):
            # Not so 5!5! and n2^n.
            raise UnreadableError("a number right after another factor")
        command = token[0] == "\\" and token[1:2].isalpha() and token not in (r"\rfloor", r"\rceil")
        opens = token == "|" and not self._inside  # else it closes
        return token in ("(", "[", "{") or token.isalnum() or command or opens

    def _signed(self) -> Value:
        negative = False
        while self.peek() in ("+", "-"):
            negative ^= self.next() == "-"
        value = self._power()
        return -value if negative else value

    def _power(self) -> Value:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise TooLargeError("an expression that is nested too deeply")
        value = self._postfix(self._atom())
        if self.before() in tuple("fghyuFGH") and _DERIVATIVE.fullmatch("".join(self.ahead(6))):
            raise UnreadableError("a derivative")
        if self.take("^"):
            value = power(value, self._exponent())
            value = self._postfix(value)
        self._nesting -= 1
        return value

    def _postfix(self, value: Value) -> Value:
        while self.take("!"):
            value = factorial(value)
        return value

    def _exponent(self) -> Value:
        """A group, or a signed number or symbol; another exponent binds to it: 2^3^2 is 2^9."""
        if self.peek() == "{":
            return self._group()
        if not self.peek().isdigit():
            return self._signed()
        value = self._postfix(number(Fraction(self.next())))  # no mixed number: x^2\frac13 is x^2/3
        return power(value, self._exponent()) if self.take("^") else value

    def _group(self) -> Value:
        if self.peek() not in ("(", "[", "{"):
            raise UnreadableError("a bracket is missing")
        closing = _CLOSING[self.next()]
        value = self.sum()
        self.expect(closing)
        return value

    def _atom(self) -> Value:
        token = self.peek()
        if token in ("(", "[", "{"):
            return self._group()
        self.next()
        if token == "|":
            self._inside += 1
            value = self.sum()
            self._inside -= 1
            self.expect("|")
            return absolute(value)
        if token and token[0] in _DIGITS and token != ".":
            return self._number(token)
        if token.isascii() and token.isalpha():
            return self._symbol(token)
        if token[:1] == "\\":
            return self._command(token)
        raise UnreadableError(f"unexpected {token!r}")

    def _number(self, token: str) -> Value:
        if "e" in token.lower() and abs(int(token.lower().partition("e")[2])) > MAX_EXPONENT:
            raise TooLargeError("a decimal exponent beyond the limit")
        value = Fraction(token)
        if token.isdigit():  # a mixed number: 1\frac{1}{2}, 1 1/2
            if self.peek() == r"\frac":
                start = self.position
                self.next()
                top, bottom = self._argument(), self._argument()
                n, d = top.rational, bottom.rational
                if n is not None and d is not None and {n.denominator, d.denominator} == {1}:
                    if not 0 < n < d:
                        raise UnreadableError("a mixed number or a product")
                    return number(value + n / d)
                self.position = start
            elif self.peek().isdigit():
                n = Fraction(self.next())
                self.expect("/")
                d = Fraction(self.next()) if self.peek().isdigit() else Fraction(0)
                if not n < d:
                    raise UnreadableError("two numbers side by side")
                return number(value + n / d)
        return number(value)

    def _symbol(self, name: str) -> Value:
        name = self._subscript(name)
        if self.ahead(6) == ["^", "{", "-", "1", "}", "("] and name[0] in "fgh":
            self.position += 5
            name += "^-1"
        if name in self._bound:
            return self._bound[name]
        if self.peek() == "(" and (name[0] in "fgh" or self.ahead(3)[2:] == [")"]):
            return function(f"call {name}", self._group())
        return symbol(name)

    def _subscript(self, name: str) -> str:
        """The name with its subscript and primes, which are part of it and not read any further."""
        while self.peek() in ("_", "'"):
            if self.take("'"):
                name += "'"
                continue
            self.next()
            parts, depth = [self.next()], int(self.before() == "{")
            while depth and parts[-1]:
                parts.append(self.next())
                depth += (parts[-1] == "{") - (parts[-1] == "}")
            if not parts[-1]:
                raise UnreadableError("a subscript that does not end")
            if not self._bound.keys().isdisjoint(parts):
                raise UnreadableError("terms with an index")  # a_1+a_2 is not 2a_k
            name += f"_{''.join(parts[1:-1] or parts)}"
        return name

    def _argument(self) -> Value:
        r"""What follows \frac or \sqrt: a group, or a single digit or symbol (\frac12)."""
        token = self.peek()
        if token in ("{", "("):
            return self._group()
        if token and token[0] in _DIGITS:
            if not token.isdigit():
                raise UnreadableError("an argument without braces")
            if len(token) > 1:
                self.divide()
            self.next()
            return number(int(token[0]))
        return self._atom()

    def _command(self, token: str) -> Value:
        name = token[1:]
        if name in FUNCTIONS:
            return self._function(name)
        if name.startswith("frac") and len(name) > 4:
            if re.search(r"\{ ?d ?\} ?\{", token):
                raise UnreadableError("a derivative that is not worked out")
            return symbol(token.replace(" ", ""))
        if name == "frac":
            return self._argument() / self._argument()
        if name == "sqrt":
            degree = self._group() if self.peek() == "[" else number(2)
            return power(self._argument(), number(1) / degree)
        if name in GREEK or name == "pi":
            return self._symbol(token)
        if name in ("binom", "dbinom", "tbinom"):
            return binomial(self._argument(), self._argument())
        if name in _ROUNDED:
            rounding, end = _ROUNDED[name]
            value = self.sum()
            self.expect(end)
            return rounded(rounding, value)
        if name in OF_LISTS:
            return of_list(name, self._list())
        if name in ("sum", "prod"):
            return self._repeated(name)
        if name in _ACCENTS and self.peek() == "{" and self.ahead(3)[2:] == ["}"]:
            inner = self.ahead(2)[1]
            for _ in range(3):
                self.next()
            return self._symbol(f"{token}{{{inner}}}")
        raise UnreadableError(f"unknown command {token}")

    def _function(self, name: str) -> Value:
        base, exponent = None, None
        if name == "log" and self.take("_"):
            base = self._argument()
        if self.take("^"):
            exponent = self._exponent()
            if exponent.rational == -1:
                if name not in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh"):
                    raise UnreadableError("an inverse function")
                name, exponent = f"arc{name}", None
        if self.peek() in ("(", "[", "{"):
            argument = self._group()
        else:
            argument = self._signed()
            while (
                (token := self.peek())
                and token[1:] not in FUNCTIONS
                and token not in ("(", "[", "|")
                and (token.isalpha() or token[0] == "\\")
            ):
                if token in (r"\cdot", r"\div", r"\rfloor", r"\rceil"):
                    break
                argument *= self._power()
            if self.before() == r"\pi" and self.peek() == "/" and self.ahead(2)[-1].isdigit():  # \cos 2\pi/7
                self.next()
                argument /= self._power()
        if name == "exp":
            value = power(symbol("e"), argument)
        elif name == "log":
            value = function("log", argument, base or number(10))
        else:
            value = function(name, argument)
        return power(value, exponent) if exponent is not None else value

    def _list(self) -> list[Value]:
        opening = self.next()
        if opening not in _CLOSING:
            raise UnreadableError("a bracket is missing")
        values = [self.sum()]
        while self.take(","):
            values.append(self.sum())
        self.expect(_CLOSING[opening])
        return values

    def _repeated(self, name: str) -> Value:
        r"""\sum_{k=1}^{4} or \prod, where both bounds are numbers."""
        self.expect("_")
        self.expect("{")
        index = self.next()
        self.expect("=")
        first = whole(self.sum())
        self.expect("}")
        self.expect("^")
        last = whole(self._argument())
        if not index.isalpha() or index in self._bound:
            raise UnreadableError("a sum without an index of its own")
        if last - first > MAX_REPEATED:
            raise TooLargeError("a sum of too many terms")
        start, total = self.position, number(0 if name == "sum" else 1)
        for value in range(first, last + 1):
            self.position, self._bound[index] = start, number(value)
            term = self._product()
            total = total + term if name == "sum" else total * term
        self._bound.pop(index, None)
        if self.position == start:
            raise UnreadableError("an empty sum")
        return total
