"""Pushes a policy or a curriculum of a run to the Hub, with its card: `make push RUN=tiny ROUND=3 REPO=me/name`."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import disable_progress_bars, validate_repo_id
from pyarrow import ArrowException
from rich.filesize import decimal

from conf.errors import ConfigError
from conf.schema import Config
from conf.secrets import without_credentials
from jobs.cli import command
from pipeline.errors import DamagedError
from pipeline.observe.cards import curriculum_card, read_policy_card
from pipeline.store.checksums import SUFFIX as CHECKSUMS
from pipeline.store.checksums import damaged_file
from pipeline.store.hub import HUB_ERRORS, explain
from pipeline.store.manifest import Manifest, read_manifest
from pipeline.store.runs import find_run
from pipeline.store.tables import CurriculumRow, sound_table

What = Literal["solver", "challenger", "curriculum"]


@dataclass(frozen=True)
class Upload:
    """Content for the Hub: files by their path in the repository, and the card."""

    kind: Literal["model", "dataset"]
    files: dict[str, Path]
    card: str


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 pushed, 1 the Hub failed, 2 an invalid argument or no token, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m jobs.push", description="Push a policy or a curriculum to the Hub.")
    parser.add_argument("--run", required=True, help="name of the run")
    parser.add_argument("--round", required=True, type=int, help="round to push")
    parser.add_argument("--repo", required=True, help="repository on the Hub, owner/name; created if necessary")
    parser.add_argument("--what", choices=("solver", "challenger", "curriculum"), default="solver", help="(default: %(default)s)")
    parser.add_argument("--public", action="store_true", help="create a public repository (default: private)")
    parser.add_argument("--dry", action="store_true", help="show what would be sent, and send nothing")
    parser.add_argument("--runs-dir", default=Config.runs_dir, help="folder that holds the runs (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    check_repository(chosen.repo)
    try:
        upload = pack(find_run(chosen.runs_dir, chosen.run, "RUN"), chosen.what, chosen.round)
    except (OSError, ArrowException) as error:
        raise ConfigError(f"RUN={chosen.run}: its files cannot be read: {error}") from error
    if chosen.dry:
        print(contents(upload, f"{'public' if chosen.public else 'private'} {upload.kind} repository {chosen.repo}"))
        return 0
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        if get_token() is None:
            raise ConfigError("no token for the Hub; set HF_TOKEN, or run `hf auth login`.")
        url = push(upload, chosen.repo, chosen.public, f"{chosen.what} of round {chosen.round} of {chosen.run}")
    except ConfigError:  # a subclass of ValueError, which is in HUB_ERRORS
        raise
    except HUB_ERRORS as error:
        print(f"error: {explain(error, chosen.repo)}", file=sys.stderr)
        return 1
    print(f"pushed {len(upload.files) + 1} files to {without_credentials(url)}")
    return 0


def check_repository(name: str) -> None:
    """Raises ConfigError if `name` is not a valid repository id."""
    try:
        validate_repo_id(name)
        fits = "/" in name
    except HFValidationError:
        fits = False
    if not fits:
        raise ConfigError(f"REPO={name}: not a repository id; valid: owner/name of letters, digits, '-', '_' and '.'.")


def pack(folder: Path, what: What, round_: int) -> Upload:
    """A policy's folder or a curriculum's table, and the card.

    Raises:
        ConfigError: the run has no such policy or curriculum.
        DamagedError: it is not as it was written.
    """
    manifest = read_manifest(folder)
    place = finished(folder, manifest, what, round_)
    if place is None or not place.exists():
        available = [
            number for number in manifest.begun() if (path := finished(folder, manifest, what, number)) and path.exists()
        ]
        valid = f"valid: {', '.join(map(str, available))}" if available else "no round has one yet"
        raise ConfigError(f"ROUND={round_}: run '{folder.name}' has no {what} of that round; {valid}.")
    if what == "curriculum":
        sound_table(place, CurriculumRow)
        return Upload("dataset", {place.name: place}, curriculum_card(manifest, round_))
    if (damage := damaged_file(place)) is not None:
        raise DamagedError(damage, "restore it from a copy, or push another round")
    files = {
        str(path.relative_to(place)): path
        for path in sorted(place.rglob("*"))
        if path.is_file() and path.name != "README.md" and path.suffix != CHECKSUMS
    }
    return Upload("model", files, read_policy_card(folder, manifest, what, round_))


def finished(folder: Path, manifest: Manifest, what: What, round_: int) -> Path | None:
    """The path of a finished policy or curriculum; None if it is not finished."""
    stages = manifest.round(round_)
    if what == "curriculum":
        return folder / f"round-{round_}" / "curriculum.parquet" if stages.curriculum.finished else None
    policy = stages.phase(what).policy
    return folder / policy if policy else None


def contents(upload: Upload, place: str) -> str:
    """The files with their sizes, and the card."""
    sizes = {name: path.stat().st_size for name, path in upload.files.items()} | {"README.md": len(upload.card.encode())}
    lines = [f"{decimal(size):>12}  {name}" for name, size in sizes.items()]
    return "\n".join([f"{decimal(sum(sizes.values()))} would be sent to the {place}:", *lines, "", upload.card])


def push(upload: Upload, repository: str, public: bool, message: str) -> str:
    """Pushes all files and the card in one commit, creating the repository if necessary; returns its URL.

    Raises:
        ConfigError: the repository is public, which was not requested.
        HUB_ERRORS: the Hub cannot be reached, or rejects the push.
    """
    hub = HfApi()
    try:
        if not hub.repo_info(repository, repo_type=upload.kind).private and not public:
            raise ConfigError(f"REPO={repository}: exists and is public; valid: PUBLIC=1 to push to it, or another name.")
    except RepositoryNotFoundError:
        hub.create_repo(repository, repo_type=upload.kind, private=not public)
    files = [CommitOperationAdd(name, path) for name, path in upload.files.items()]
    card = CommitOperationAdd("README.md", upload.card.encode())
    hub.create_commit(repository, [*files, card], repo_type=upload.kind, commit_message=message)
    return f"{hub.endpoint}/{'datasets/' if upload.kind == 'dataset' else ''}{repository}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
