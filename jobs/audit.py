"""Advisories against the pinned packages: `make audit` compares locks/*.txt with PyPI's JSON interface at pip's index."""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml
from pip._internal.models.index import PyPI

from conf.errors import ConfigError
from conf.load import ROOT
from jobs.cli import command

TIMEOUT_S = 30
AT_ONCE = 8
PROBE = "pip/24.0"  # a release that every index holds


@dataclass(frozen=True, slots=True)
class Pin:
    """A package of a lock; a build's label is not part of the version: torch 2.13.0 for `torch==2.13.0+cpu`."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Advisory:
    """`ids` holds its own id and those of the same advisory elsewhere; `fixed` the versions without the fault."""

    ids: tuple[str, ...]
    summary: str
    fixed: tuple[str, ...]


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 none but accepted ones, 1 others, 2 no index with advisories is reachable."""
    parser = argparse.ArgumentParser(prog="python -m jobs.audit", description="Known advisories against the pinned packages.")
    parser.add_argument("--locks", type=Path, default=ROOT / "locks", help="folder of the locks (default: %(default)s)")
    folder: Path = parser.parse_args(arguments).locks
    locks = {path.stem: pins(path) for path in sorted(folder.glob("*.txt")) if not path.stem.startswith("overrides-")}
    accepted = read_accepted(folder / "accepted-advisories.yaml")
    known = advisories(index_url(), sorted({pin for lock in locks.values() for pin in lock}, key=lambda pin: pin.name))
    open_ = 0
    for name, lock in locks.items():
        found = [(pin, advisory) for pin in lock for advisory in known[pin] or ()]
        print(f"{name}: {len(lock)} packages, {len(found)} advisories")
        for pin, advisory in found:
            reason = next((accepted[id_] for id_ in advisory.ids if id_ in accepted), None)
            open_ += reason is None
            print(f"  {line(pin, advisory)}" + (f"; accepted: {reason}" if reason else ""))
        for pin in lock:
            if known[pin] is None:
                open_ += 1
                print(f"  {pin.name} {pin.version}: not on the index, so nothing is known of it")
    present = {id_ for each in known.values() for advisory in each or () for id_ in advisory.ids}
    for id_ in accepted.keys() - present:
        print(f"accepted-advisories.yaml: {id_} concerns no pinned package any more")
    print(f"{open_} to look at" if open_ else "nothing to look at")
    return min(open_, 1)


def line(pin: Pin, advisory: Advisory) -> str:
    fixed = f"fixed in {', '.join(advisory.fixed)}" if advisory.fixed else "no fixed version"
    return f"{pin.name} {pin.version}: {' '.join(advisory.ids)}, {fixed}: {' '.join(advisory.summary.split()):.120}"


def pins(lock: Path) -> list[Pin]:
    """The packages of a lock, of which each line is `name==version`."""
    words = (text.partition(";")[0].strip().partition("==") for text in lock.read_text().splitlines())
    return [Pin(name, version.partition("+")[0]) for name, equals, version in words if equals]


def read_accepted(path: Path) -> dict[str, str]:
    """The reason for each advisory, by id, that is known and accepted.

    Raises:
        ConfigError: the file cannot be read, or does not hold reasons by id.
    """
    try:
        accepted = yaml.safe_load(path.read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(accepted, dict) or not all(isinstance(reason, str) and reason for reason in accepted.values()):
        raise ConfigError(f"{path}: holds no reasons by id; valid: lines such as `PYSEC-2026-1: why it does not concern us`.")
    return accepted


def index_url() -> str:
    """The index that pip installs from, out of `pip config list`: `pip config get` reads one file of several."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    found = dict(re.findall(r"^(:env:|install|global)\.index-url='(.*)'$", listed, re.MULTILINE))
    return next((found[source] for source in (":env:", "install", "global") if source in found), PyPI.simple_url)


def advisories(index: str, packages: Sequence[Pin]) -> dict[Pin, list[Advisory] | None]:
    """Those against each package; None for a release that the index does not hold.

    Raises:
        ConfigError: the index cannot be reached, or has no JSON interface.
    """
    base = index.rstrip("/").removesuffix("/simple") + "/pypi"

    def fetch(path: str) -> tuple[int, dict[str, Any]]:
        try:
            reply = requests.get(f"{base}/{path}/json", timeout=TIMEOUT_S)
            return reply.status_code, reply.json() if reply.ok else {}
        except requests.RequestException as error:
            raise ConfigError(
                f"no advisories: {base} cannot be reached ({type(error).__name__}); valid: a network, and REQUESTS_CA_BUNDLE "
                "where its certificates are its own."
            ) from error

    def of(pin: Pin) -> list[Advisory] | None:
        status, release = fetch(f"{pin.name}/{pin.version}")
        if status == 404:
            return None
        if "vulnerabilities" not in release:
            raise ConfigError(f"no advisories: {base} replies {status} for {pin.name}; valid: to try again later.")
        return list(read_advisories(release["vulnerabilities"]))

    status, release = fetch(PROBE)
    if "vulnerabilities" not in release:
        raise ConfigError(
            f"no advisories: {base} replies {status} for {PROBE}/json, so this index has none; valid: a PIP_INDEX_URL with "
            "PyPI's JSON interface."
        )
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(packages, pool.map(of, packages), strict=True))


def read_advisories(listed: Sequence[dict[str, Any]]) -> Iterator[Advisory]:
    """Those that were not withdrawn."""
    for each in listed:
        if not each.get("withdrawn"):
            ids, summary = (each["id"], *(each.get("aliases") or ())), each.get("summary") or each.get("details") or ""
            yield Advisory(ids, summary, tuple(each.get("fixed_in") or ()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
