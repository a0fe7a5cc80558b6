"""Damage to a file of a run, and its repair from a copy."""

from dataclasses import dataclass
from pathlib import Path

from jobs.chaos.faults import Action

# Damage to these, of which nothing need be said: records for a person, what MLflow has already, and what is a copy while that
# which it was made for, or from, is sound.
UNCHECKED = ("config.yaml", "tracking.jsonl", "tracking.sent.json", "report.html", "manifest.previous.json")
COPIES = ("round-1/curriculum/part-",)
CHECKSUMS = ".blake2b"


def is_told(name: str) -> bool:
    """Whether a damaged file, by its path in the run's folder, has to be named by `make status`."""
    return not (name in UNCHECKED or name.startswith(COPIES) or name.endswith(CHECKSUMS))


@dataclass(frozen=True, slots=True)
class Damage:
    """A damaged file; `before` is what it held."""

    path: Path
    before: bytes

    def repair(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(self.before)


def files_of(folder: Path) -> list[Path]:
    """The files of a run, those that are being written among them."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock" and "logs" not in path.parts)


def inflict(folder: Path, action: Action, choice: float) -> Damage | None:
    """Damages the file that `choice` picks; None if there is none. A file may vanish at any moment: then the next is taken."""
    files = files_of(folder)
    first = int(choice * len(files))
    for path in files[first:] + files[:first]:
        try:
            before = path.read_bytes()
            if action == "removed":
                path.unlink()
            elif not before:
                continue
            elif action == "truncated":
                with path.open("r+b") as file:
                    file.truncate(len(before) // 2)
            else:
                place = int(choice * 1e6) % len(before)
                with path.open("r+b") as file:
                    file.seek(place)
                    file.write(bytes([before[place] ^ 1]))
        except FileNotFoundError:
            continue
        return Damage(path, before)
    return None
