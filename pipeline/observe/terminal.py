"""Terminal output of a run: status lines, a live line per phase, and a summary table per round.

Text written by a model is hostile: it may contain escape codes that move the cursor, markup, or megabytes. All of it goes through
`printable`. Without a terminal (a job's log, CI) the live line becomes one plain line per step, and one a minute within it.
"""

import re
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from types import TracebackType
from typing import NamedTuple, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from conf.secrets import without_credentials
from pipeline.types import WAYS

STARTED = time.monotonic()
# CSI sequences (colours, cursor moves), OSC strings (titles, links, the clipboard), and the two-character rest.
ESCAPE_CODE = re.compile(r"(?:\x9b|\x1b\[)[0-?]*[ -/]*[@-~]|\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")

console = Console(highlight=False)


class Example(NamedTuple):
    """A question of the curriculum in the summary; `true_answer` is None if no oracle knows it."""

    question: str
    p_hat: float
    pseudo_label: str
    true_answer: str | None


@dataclass(frozen=True)
class RoundSummary:
    """The changes of a round.

    `before` and `after` hold accuracies from 0 to 1 by benchmark (or benchmark and band) and way of answering:
    {"heldout": {"sampled": 0.52, "greedy": 0.61, "majority": 0.70}}; a way that was not measured is missing. `label_accuracy`
    is the share of the kept questions whose pseudo-label is right, None without an oracle. `p_hat_first` and `p_hat_last` are
    means over the Challenger's first and last step, None without steps. `seconds` are by part: sampling, learning, ...
    """

    round: int
    before: Mapping[str, Mapping[str, float]]
    after: Mapping[str, Mapping[str, float]]
    questions_written: int
    questions_wellformed: int
    questions_answered: int
    questions_kept: int
    label_accuracy: float | None
    p_hat_first: float | None
    p_hat_last: float | None
    examples: Sequence[Example]
    seconds: Mapping[str, float]
    paths: Mapping[str, str]


def printable(text: str, width: int) -> str:
    """One line of at most `width` cells that is safe to print: no escape codes, no control, format or unassigned characters,
    no credentials.

    >>> printable("a\\x1b[2Jb\\n\\tc", 10)
    'ab c'
    """
    head = text[: 8 * width]  # more than can be shown, so that megabytes cost nothing
    words = without_credentials(" ".join(ESCAPE_CODE.sub("", head).split()))
    line = Text("".join(char for char in words if unicodedata.category(char)[0] != "C")[: 2 * width])
    line.truncate(width, overflow="ellipsis")
    return line.plain.encode(console.encoding, "replace").decode(console.encoding)


def duration(seconds: float) -> str:
    """
    >>> duration(75), duration(4000)
    ('1:15', '1:06:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def say(text: str) -> None:
    """Prints a status line with the time since the program started."""
    clock = f"[{duration(time.monotonic() - STARTED):>7}] "
    console.print(Text.assemble((clock, "dim"), printable(text, 2000)), soft_wrap=True)


# What a progress line may say of a step, and how.
NUMBERS: Mapping[str, Callable[[float], str]] = {
    "reward": "reward {:.2f}".format,
    "p_hat": "p-hat {:.2f}".format,
    "tokens_per_s": lambda rate: f"{rate / 1000:.1f}k tok/s" if rate >= 1000 else f"{rate:.0f} tok/s",
    "greedy": "greedy {:.1%} right".format,
    "sampled": "sampled {:.1%} right".format,
}


PLAIN_EVERY_S = 60.0  # between plain lines within a step


class Drawn:
    """How far a call for `total` samples is."""

    def __init__(self, total: int) -> None:
        self.total, self.samples, self.tokens, self._started = total, 0, 0, time.monotonic()

    def __str__(self) -> str:
        """E.g. "412/1280 samples, 6.1k tok/s, 0:07 left"."""
        spent = time.monotonic() - self._started
        words = [f"{self.samples}/{self.total} samples"]
        if self.samples:
            left = spent / self.samples * (self.total - self.samples)
            words += [NUMBERS["tokens_per_s"](self.tokens / max(1e-9, spent)), f"{duration(left)} left"]
        return ", ".join(words)


class PhaseProgress:
    """The live lines of a phase: its steps, with the last one's numbers and the remaining time, and the samples of this one.

    `done` steps were made before. The remaining time is the mean duration of the steps made by this process, times the
    remaining steps.
    """

    def __init__(self, label: str, *, total: int, done: int = 0, every_s: float = 0.0) -> None:
        self._label = label
        self._drawing: Drawn | None = None
        self._every_s, self._said = every_s, time.monotonic()
        self._total = total
        self._done = self._done_before = done
        self._numbers: list[str] = []
        self._started = self._updated = time.monotonic()
        self._live = Live(console=console, get_renderable=self._line, refresh_per_second=4) if console.is_interactive else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        elif self._done:
            say(f"{self._label} resumes after {self._steps()}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def update(self, step: int, **numbers: float | None) -> None:
        """Show that `step` (counted from 1) is done, with those of the `NUMBERS` that it has.

        Without a terminal, prints a line at most every `every_s` seconds, and for the last step. A call may draw for several
        steps.
        """
        self._done = step
        if self._drawing and self._drawing.samples >= self._drawing.total:
            self._drawing = None
        self._updated = time.monotonic()
        self._numbers = [NUMBERS[name](value) for name, value in numbers.items() if value is not None]
        if self._live:
            self._live.refresh()
        elif step >= self._total or self._updated - self._said >= self._every_s:
            self._said = self._updated
            say(", ".join([f"{self._label} {self._steps()}", *self._numbers, self._time()]))

    def drawing(self, total: int) -> None:
        """A call for `total` samples begins within the step."""
        self._drawing = Drawn(total)

    def drawn(self, samples: int, tokens: int) -> None:
        """So many more of its samples were drawn, of so many tokens. Without a terminal, prints a line a minute."""
        assert self._drawing is not None
        self._drawing.samples += samples
        self._drawing.tokens += tokens
        if not self._live and time.monotonic() - self._said >= PLAIN_EVERY_S:
            self._said = time.monotonic()
            say(f"{self._label} {self._steps()}, in the next: {self._drawing}")

    def _steps(self) -> str:
        return f"{self._done}/{self._total}"

    def _time(self) -> str:
        now = time.monotonic()
        made = self._done - self._done_before
        if self._done >= self._total:
            return f"{duration(self._updated - self._started)} taken"
        if not made:
            return f"{duration(now - self._started)} so far"
        left = (self._updated - self._started) / made * (self._total - self._done) - (now - self._updated)
        return f"{duration(max(0.0, left))} left"

    def _line(self) -> RenderableType:
        bar = ProgressBar(total=max(1, self._total), completed=self._done)
        grid = Table.grid(padding=(0, 1, 0, 0), expand=True)
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1, min_width=4)
        grid.add_row(self._label, bar, self._steps(), *self._numbers, self._time())
        for column in grid.columns[2:]:
            column.no_wrap = True
        return grid if self._drawing is None else Group(grid, Text(f"  {self._drawing}", style="dim"))


class AnswerProgress(PhaseProgress):
    """The live line of a held-out set: answers drawn of how many, tokens/s, shares right so far, time left.

    Without a terminal, one plain line per minute.
    """

    def __init__(self, label: str) -> None:
        super().__init__(label, total=0, every_s=PLAIN_EVERY_S)
        self._tokens = 0

    def __enter__(self) -> Self:
        return self  # there is nothing to show before `begin`

    def begin(self, total: int, done: int) -> None:
        """See `pipeline.measure.Watch`."""
        self._total, self._done, self._done_before = total, done, done
        super().__enter__()

    def arrived(self, answers: int, tokens: int, grades: Callable[[], Mapping[str, Sequence[float]]]) -> None:
        """See `pipeline.measure.Watch`."""
        self._done, self._tokens, now = self._done + answers, self._tokens + tokens, time.monotonic()
        if self._done >= self._total or now - self._updated >= 1.0:
            right = {way: fmean(so_far) for way, so_far in grades().items() if so_far}
            self.update(self._done, tokens_per_s=self._tokens / max(1e-9, now - self._started), **right)


def round_summary(summary: RoundSummary) -> None:
    """Prints the summary of a round."""
    console.print(Rule(Text(f"round {summary.round}", style="bold"), style="dim"))
    if summary.after:
        console.print(_accuracy_table(summary), "")
    console.print(_facts(summary), "")
    if summary.examples:
        console.print(_example_table(summary.examples), "")
    for name, path in summary.paths.items():
        console.print(Text.assemble((f"{name:<12}", "dim"), printable(path, 2000)), soft_wrap=True)


def table_of(*columns: str, title: str | None = None) -> Table:
    """A table without a frame: its first column is for names, the others are for numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if table.columns else "left", no_wrap=bool(table.columns))
    return table


def _accuracy_table(summary: RoundSummary) -> Table:
    table = table_of("benchmark", *WAYS, title="Held-out accuracy, %: before -> after")
    for name in dict.fromkeys([*summary.after, *summary.before]):
        before, after = summary.before.get(name, {}), summary.after.get(name, {})
        table.add_row(printable(name, 16), *(_change(before.get(way), after.get(way)) for way in WAYS))
    return table


def _change(before: float | None, after: float | None) -> Text:
    """An accuracy before and after, in percent, and the difference: "52.0->61.3  +9.3"."""
    if before is None and after is None:
        return Text("-")
    if before is None or after is None:
        return Text("->".join("?" if value is None else f"{100 * value:.1f}" for value in (before, after)))
    gain = 100 * (after - before)
    style = "green" if gain > 0 else "red" if gain < 0 else "none"
    return Text.assemble(f"{100 * before:.1f}->{100 * after:.1f}", (f" {gain:>+5.1f}", style))


def _facts(summary: RoundSummary) -> Table:
    written, kept = summary.questions_written, summary.questions_kept
    questions = (
        f"{written} written, {summary.questions_wellformed} well-formed, {summary.questions_answered} answered, "
        f"{kept} kept ({kept / written:.0%})"
    )
    accuracy = summary.label_accuracy
    labels = "unknown (no oracle)" if accuracy is None else f"{accuracy:.0%} of the kept pseudo-labels are right"
    first, last = summary.p_hat_first, summary.p_hat_last
    moved = "-" if first is None or last is None else f"{first:.2f} -> {last:.2f} from the Challenger's first step to its last"
    total = sum(summary.seconds.values())
    parts = sorted(summary.seconds.items(), key=lambda part: -part[1])
    times = ", ".join(f"{name} {duration(spent)}" for name, spent in parts if spent >= 0.5)
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", min_width=10)
    grid.add_column()
    for name, value in (("questions", questions), ("labels", labels), ("p-hat", moved), ("time", f"{duration(total)}: {times}")):
        grid.add_row(name, Text(value))
    return grid


def _example_table(examples: Sequence[Example]) -> Table:
    table = table_of("question", "p-hat", "label", "true", title="Questions of the curriculum, as the Challenger wrote them")
    table.columns[0].ratio = 1
    for question, p_hat, label, truth in examples:
        right = "-" if truth is None else printable(truth, 14)
        table.add_row(*(Text(cell) for cell in (printable(question, 160), f"{p_hat:.2f}", printable(label, 14), right)))
    return table
