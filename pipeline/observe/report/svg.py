"""A small panel in SVG: axes, lines, bands, bars. Colours are CSS classes, so that one page serves light and dark screens.

A panel is about as wide as a phone's screen; a page shows panels side by side if there is room, at a constant text size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

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


@dataclass
class Panel:
    """One small chart. `x` and `y` are the ranges of the data; height and margins are in pixels.

    `describe` is the text for screen readers.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    describe: str
    height: float = 210
    left: float = 40
    right: float = 12
    top: float = 10
    bottom: float = 36
    parts: list[Markup] = field(default_factory=list)

    def px(self, x: float) -> float:
        low, high = self.x
        return self.left + (x - low) / (high - low) * (WIDTH - self.left - self.right)

    def py(self, y: float) -> float:
        low, high = self.y
        return self.height - self.bottom - (y - low) / (high - low) * (self.height - self.top - self.bottom)

    def add(self, markup: str, *arguments: object) -> None:
        """Adds an element; the arguments of `{}` are escaped, and shortened if they are coordinates."""
        self.parts.append(Markup(markup).format(*(number(a) if isinstance(a, float) else a for a in arguments)))

    def text(self, x: float, y: float, text: str, kind: str = "tick", anchor: str = "middle") -> None:
        """Text at pixels (x, y)."""
        self.add('<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>', x, y, kind, anchor, text)

    def x_axis(self, label: str, at: Sequence[tuple[float, str]]) -> None:
        floor = self.height - self.bottom
        for value, name in at:
            self.text(self.px(value), floor + 14, name)
        self.add('<path class="axis" d="M{} {}H{}"/>', self.left, floor, WIDTH - self.right)
        self.text((self.left + WIDTH - self.right) / 2, self.height - 5, label, "label")

    def y_axis(self, at: Sequence[tuple[float, str]]) -> None:
        for value, name in at:
            self.add('<path class="grid" d="M{} {}H{}"/>', self.left, self.py(value), WIDTH - self.right)
            self.text(self.left - 5, self.py(value) + 4, name, anchor="end")

    def path(self, kind: str, points: Sequence[tuple[float, float]], end: str = "") -> None:
        """Straight lines from point to point."""
        places = "L".join(f"{number(self.px(x))} {number(self.py(y))}" for x, y in points)
        self.add('<path class="{}" d="M{}{}"/>', kind, places, end)

    def line(self, points: Sequence[tuple[float, float]], colour: str, *, dots: bool = True) -> None:
        if len(points) > 1:
            self.path(f"line stroke-{colour}", points)
        if dots or len(points) == 1:
            for x, y in points:
                self.add('<circle class="fill-{}" cx="{}" cy="{}" r="3"/>', colour, self.px(x), self.py(y))

    def band(self, low: Sequence[tuple[float, float]], high: Sequence[tuple[float, float]], colour: str) -> None:
        """The area between two curves over the same x."""
        self.path(f"band fill-{colour}", [*low, *reversed(high)], "Z")

    def box(self, x: float, y: float, width: float, height: float, colour: str, hint: str, opacity: float = 1.0) -> None:
        """A rectangle in pixels, with a tooltip `hint`."""
        self.add('<rect class="fill-{}" x="{}" y="{}" width="{}" ', colour, x, y, max(width, 0.0))
        self.add('height="{}" rx="1.5" fill-opacity="{}"><title>{}</title></rect>', height, f"{opacity:.2f}", hint)

    def svg(self) -> Markup:
        start = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, number(self.height), self.describe)
        return start + Markup("").join(self.parts) + Markup("</svg>")
