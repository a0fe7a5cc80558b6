"""Fetches missing benchmark sets from the Hub: `make benchmarks`, or `make benchmarks SETS="math500 aime24"`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.utils import disable_progress_bars

from conf.errors import ConfigError
from jobs.cli import command, set_names
from pipeline.domain.sets import BenchmarkSet, catalogue, find_sets
from pipeline.store.benchmarks import FOLDER, fetch, read_problems, read_stored
from pipeline.store.hub import HUB_ERRORS, explain


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 all present, 1 a set is still missing, 2 no such set or folder, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m jobs.benchmarks", description="Fetch benchmark sets from the Hub.")
    parser.add_argument("--sets", default="", help="names, .yaml files of definitions, data files (default: all ten)")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder for the sets (default: benchmarks/)")
    chosen = parser.parse_args(arguments)
    sets = find_sets(set_names(chosen.sets) or list(catalogue()))
    try:
        chosen.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--output={chosen.output}: {error.strerror}; valid: a writable folder.") from error
    if not sys.stderr.isatty():
        disable_progress_bars()
    missing = [each.name for each in sets if not provide(each, chosen.output)]
    if missing:
        print(f"{len(missing)} of {len(sets)} sets missing: {', '.join(missing)}", file=sys.stderr)
    return 1 if missing else 0


def provide(definition: BenchmarkSet, folder: Path) -> bool:
    """Fetches a set unless it is on disk, and prints the outcome; False if it failed."""
    name = f"{definition.name:<13}"
    try:
        if definition.hub is None:
            print(f"{name} {len(read_problems(definition))} problems in {definition.path}, nothing to fetch", flush=True)
            return True
        if stored := read_stored(definition, folder):
            fetched, how = stored[0], "already fetched"
        else:
            print(f"{name} fetching {definition.hub}", flush=True)
            fetched, how = fetch(definition, folder, HfApi()), "fetched"
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return False
    except HUB_ERRORS as error:
        print(f"error: set {definition.name}: {explain(error, definition.hub or definition.name)}", file=sys.stderr, flush=True)
        return False
    print(f"{name} {how}: {fetched.problems} problems, commit {fetched.revision[:8]}, sha256 {fetched.sha256[:12]}", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
