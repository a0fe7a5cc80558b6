"""The tokens of an expression, and a position among them."""

import re

from pipeline.domain.graders.math.functions import UnreadableError
from pipeline.domain.graders.math.value import TooLargeError

MAX_REPEATED = 500  # tokens read again: those of a sum's body, once for each of its terms

_DERIVATIVE = r"\\frac ?\{ ?d[^{}]*\} ?\{ ?d ?[a-zA-Z][^{}]*\}"  # read as a quotient, dy/dx would be y/x
_TOKEN = re.compile(_DERIVATIVE + r"|[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?|\\[a-zA-Z]+|\\.|\S")
_SUBSCRIPT = re.compile(r"_\{[^{}]*\}")  # words there are a part of a name
_NO_PRODUCT = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{4,}|/ ?d ?[a-z]")


class Cursor:
    def __init__(self, text: str) -> None:
        """UnreadableError for a text that is not LaTeX, or has words in it, or differentials, which would be read as products."""
        if not text.isascii() or _NO_PRODUCT.search(_SUBSCRIPT.sub("", text)):
            raise UnreadableError("words, differentials or foreign characters")
        self._tokens: list[str] = _TOKEN.findall(text)
        self.position = self._steps = 0

    def peek(self) -> str:
        """The next token; empty at the end."""
        return self._tokens[self.position] if self.position < len(self._tokens) else ""

    def before(self) -> str:
        return self._tokens[self.position - 1] if self.position else ""

    def ahead(self, count: int) -> list[str]:
        return self._tokens[self.position : self.position + count]

    def next(self) -> str:
        """Passes the next token; empty at the end, where there is nothing to pass."""
        token = self.peek()
        self.position += token != ""
        self._steps += 1
        if self._steps > len(self._tokens) + MAX_REPEATED:
            raise TooLargeError("an expression that takes too many steps")
        return token

    def take(self, token: str) -> bool:
        """Whether the next token is this one, which is then passed."""
        if found := self.peek() == token:
            self.next()
        return found

    def expect(self, token: str) -> None:
        if self.next() != token:
            raise UnreadableError(f"{token!r} is missing")

    def divide(self) -> None:
        r"""Make two tokens of the next: its first digit, which \\frac12 takes for its numerator, and the rest."""
        token = self.peek()
        self._tokens[self.position : self.position + 1] = [token[0], token[1:]]
