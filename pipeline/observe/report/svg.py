"""A small panel in SVG: axes, lines, bands, bars. Colours are CSS classes, so that one page serves light and dark screens.

A panel is about as wide as a phone's screen. A page lays panels side by side where there is room, and text keeps its size.
"""

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

WIDTH = 340


def number(value: float) -> str:
    """A coordinate: short, since a page holds thousands.

    >>> number(12.0), number(3.14159)
    ('12', '3.1')
    """
    return f"{value:.1f}".removesuffix(".0")


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values within [low, high], at most about `most` of them.

    >>> ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> ticks(0, 7, 4)
    [0.0, 2.0, 4.0, 6.0]
    """
    if high <= low:
        return [low]
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 10) + 0.0 for index in range(first, math.floor(high / step + 1e-9) + 1)]


class Panel:
    """One small chart. `x` and `y` are the ranges of the data; margins are in pixels.

    `describe` is what a screen reader says in place of the picture.
    """

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        describe: str,
        height: int = 210,
        left: int = 40,
        right: int = 12,
        top: int = 10,
        bottom: int = 36,
    ) -> None:
        self.height, self.left, self.right, self.top, self.bottom = height, left, right, top, bottom
        self._x, self._y = (self._widened(*x), self._widened(*y))
        self._describe = describe
        self._parts: list[Markup] = []

    @staticmethod
    def _widened(low: float, high: float) -> tuple[float, float]:
        return (low, high) if high > low else (low - 0.5, low + 0.5)

    def px(self, x: float) -> float:
        low, high = self._x
        return self.left + (x - low) / (high - low) * (WIDTH - self.left - self.right)

    def py(self, y: float) -> float:
        low, high = self._y
        return self.height - self.bottom - (y - low) / (high - low) * (self.height - self.top - self.bottom)

    def add(self, markup: str, *arguments: object) -> None:
        """Puts in an element; `{}` take escaped arguments."""
        self._parts.append(Markup(markup).format(*arguments))

    def text(self, x: float, y: float, text: str, kind: str = "tick", anchor: str = "middle") -> None:
        """Text at pixels (x, y)."""
        self.add('<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>', number(x), number(y), kind, anchor, text)

    def x_axis(self, label: str, at: Sequence[tuple[float, str]]) -> None:
        floor = self.height - self.bottom
        for value, name in at:
            self.text(self.px(value), floor + 14, name)
        self.add('<path class="axis" d="M{} {}H{}"/>', self.left, number(floor), WIDTH - self.right)
        self.text((self.left + WIDTH - self.right) / 2, self.height - 5, label, "label")

    def y_axis(self, at: Sequence[tuple[float, str]]) -> None:
        for value, name in at:
            self.add('<path class="grid" d="M{} {}H{}"/>', self.left, number(self.py(value)), WIDTH - self.right)
            self.text(self.left - 5, self.py(value) + 4, name, anchor="end")

    def line(self, points: Sequence[tuple[float, float]], colour: str, *, dots: bool = True, dash: str = "") -> None:
        places = [f"{number(self.px(x))} {number(self.py(y))}" for x, y in points]
        if len(places) > 1:
            style = f"line stroke-{colour}{' dash' if dash else ''}"
            self.add('<path class="{}" d="M{}"/>', style, "L".join(places))
        if dots or len(places) == 1:
            for x, y in points:
                self.add('<circle class="fill-{}" cx="{}" cy="{}" r="3"/>', colour, number(self.px(x)), number(self.py(y)))

    def band(self, low: Sequence[tuple[float, float]], high: Sequence[tuple[float, float]], colour: str) -> None:
        """The area between two curves over the same x."""
        outline = [*low, *reversed(high)]
        places = "L".join(f"{number(self.px(x))} {number(self.py(y))}" for x, y in outline)
        self.add('<path class="band fill-{}" d="M{}Z"/>', colour, places)

    def whisker(self, x: float, low: float, high: float, colour: str, shift: float = 0) -> None:
        """A vertical interval, `shift` pixels beside x."""
        self.add(
            '<path class="whisker stroke-{}" d="M{} {}V{}"/>',
            colour, number(self.px(x) + shift), number(self.py(low)), number(self.py(high)),
        )  # fmt: skip

    def box(self, x: float, y: float, width: float, height: float, colour: str, hint: str, opacity: float = 1.0) -> None:
        """A rectangle in pixels, with a hint that shows when it is pointed at."""
        self.add(
            '<rect class="fill-{}" x="{}" y="{}" width="{}" height="{}" rx="1.5" fill-opacity="{}"><title>{}</title></rect>',
            colour, number(x), number(y), number(max(width, 0)), number(max(height, 0)), f"{opacity:.2f}", hint,
        )  # fmt: skip

    def svg(self) -> Markup:
        body = Markup("").join(self._parts)
        return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
            WIDTH, self.height, escape(self._describe), body
        )
