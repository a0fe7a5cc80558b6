"""What an answer can be, read: a quantity, words, a list, an interval, an equation, ..."""

from dataclasses import dataclass
from fractions import Fraction

from pipeline.domain.graders.math.value import Value


@dataclass(frozen=True, slots=True)
class Text:
    """Words, or anything that is not read any further: equal to nothing but the same text."""

    text: str


@dataclass(frozen=True, slots=True)
class Quantity:
    """An expression, perhaps with a unit.

    `text` is the expression in LaTeX; `value` is None where it is too large to work out. `half` is half a unit in the last
    place of a decimal that may have been rounded, 0 for any other expression.
    """

    text: str
    value: Value | None
    unit: str | None = None
    percent: bool = False
    half: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class Clock:
    """`3:20`, a time of day or a ratio: two such are the same time or differ, since of two wrong verdicts a false "equal" does
    more harm; to anything else it is the ratio.
    """

    hour: int
    minutes: str
    ratio: "Node"


@dataclass(frozen=True, slots=True)
class Mixed:
    """Words and quantities in turn, compared piece by piece: `2\\text{ hours }30\\text{ minutes}`."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Items between brackets, `shape`: "{}", "()", "[)", ...; "" without any, ":" for a ratio, else a matrix's name."""

    shape: str
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """`Text` of plus or minus infinity is an end, too."""

    low: "Node"
    high: "Node"
    closed_low: bool
    closed_high: bool


@dataclass(frozen=True, slots=True)
class Reals:
    """A union of intervals, in ascending order."""

    parts: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class Labelled:
    """`x=5`, `f(x)=2x`, `x>3`: what is said of `label`; `equation` is left side minus right side, where both are expressions."""

    label: str
    body: "Node"
    equation: Value | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """`a=1, b=2` or `(a,b)=(1,2)`: a body for each label."""

    labels: tuple[str, ...]
    bodies: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Relation:
    r"""An equation or inequality that defines no label: `difference` `operator` 0, the operator being `=`, `<` or `\le`."""

    operator: str
    difference: Value


@dataclass(frozen=True, slots=True)
class Choice:
    """An option of a multiple-choice question with its text: `(B) 12`."""

    letter: str
    text: "Node"


Node = Text | Quantity | Clock | Mixed | Group | Reals | Labelled | Named | Relation | Choice
