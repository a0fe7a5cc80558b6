"""One line of a check: what was found, what is needed, what to do."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rich.text import Text

from pipeline.observe.terminal import console, printable

Level = Literal["ok", "warning", "fault"]
STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault would end or spoil a run; a warning may make it slow or is likely to be a mistake."""

    level: Level
    name: str
    found: str
    needed: str = ""
    do: str = ""  # how to change what is not ok

    @property
    def text(self) -> str:
        """
        >>> Finding("fault", "disk", "2 GB free", "9 GB", "set runs_dir").text
        'disk: 2 GB free; needed: 9 GB; to do: set runs_dir'
        """
        needed = f"; needed: {self.needed}" if self.needed else ""
        return f"{self.name}: {self.found}{needed}{f'; to do: {self.do}' if self.do and self.level != 'ok' else ''}"


def compared(name: str, found: str, needed: str, do: str, *, fault: bool = False, warning: bool = False) -> Finding:
    """A fault, else a warning, else ok."""
    return Finding("fault" if fault else "warning" if warning else "ok", name, found, needed, do)


def show(title: str, findings: Iterable[Finding]) -> list[Finding]:
    """Prints a group of findings, a line each as they come; returns them."""
    shown = []
    console.print(Text(f"\n{title}", style="bold"))
    for each in findings:
        console.print(Text.assemble("  ", (f"{each.level:<8}", STYLES[each.level]), printable(each.text, 2000)), soft_wrap=True)
        shown.append(each)
    return shown


def is_setting(text: str) -> bool:
    """Whether what to do is nothing but settings, to be typed as they are.

    >>> is_setting("model.max_length=512 prompts=a.yaml"), is_setting("set model.max_length=512")
    (True, False)
    """
    return bool(text) and all("=" in word and not word.endswith("=") for word in text.split())


def gb(size: float) -> str:
    """
    >>> gb(33_240_799_744), gb(6_000_000)
    ('33.2 GB', '6 MB')
    """
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
