r"""Walks over an answer outside its brackets."""

import re
from collections.abc import Collection

_TOKEN = re.compile(r"\\text\{[^{}]*\}|\\begin\{[^{}]*\}|\\end\{[^{}]*\}|\\[a-zA-Z]+|\\.|.", re.DOTALL)
_OPENING, _CLOSING = ("(", "[", "{", r"\{", r"\lfloor", r"\lceil"), (")", "]", "}", r"\}", r"\rfloor", r"\rceil")


def split(text: str, separators: Collection[str]) -> tuple[list[str], list[str]]:
    """The parts between separators that no bracket encloses, and the separators; brackets need not match: [0,1)."""
    parts, found, start, depth = [], [], 0, 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        if depth == 0 and token in separators:
            parts.append(text[start : match.start()])
            found.append(token)
            start = match.end()
        elif token in _OPENING or token.startswith(r"\begin"):
            depth += 1
        elif token in _CLOSING or token.startswith(r"\end"):
            depth = max(0, depth - 1)
    return [*parts, text[start:]], found


def closing(text: str) -> int:
    """The end of the bracket that the text begins with, -1 where it is never closed."""
    depth = 0
    for match in _TOKEN.finditer(text):
        depth += (match[0] in _OPENING) - (match[0] in _CLOSING)
        if depth == 0:
            return match.end()
    return -1


def group_end(text: str, start: int) -> int:
    """Where the bracket that opens at `start` is closed; -1 where it never is. Escaped braces are printed, and group nothing."""
    opening = text[start]
    closing, depth, position = {"{": "}", "(": ")", "[": "]"}[opening], 0, start
    while position < len(text):
        char = text[position]
        if char == "\\":
            position += 1
        elif char == opening:
            depth += 1
        elif char == closing:
            depth -= 1
            if depth == 0:
                return position
        position += 1
    return -1
