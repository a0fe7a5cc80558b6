"""The best rounds of all runs: `make best`, or `make best METRIC=heldout_hard_greedy`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from conf.schema import Config
from pipeline.observe.terminal import console, printable


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 found, 2 there is no such metric, or no store."""
    parser = argparse.ArgumentParser(prog="python -m jobs.best", description="List the best rounds of all runs.")
    parser.add_argument("--metric", default="heldout_sampled", help="what to rank by, highest first (default: %(default)s)")
    parser.add_argument("--tracking-uri", default=Config.tracking_uri, help="tracking store (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    if chosen.tracking_uri.startswith("sqlite:///") and not Path(chosen.tracking_uri.removeprefix("sqlite:///")).exists():
        print(f"error: --tracking-uri={chosen.tracking_uri}: there is no store yet; `make round` makes it.", file=sys.stderr)
        return 2
    from pipeline.observe.registry import best_rounds, known_metrics, search_string  # mlflow takes seconds to import
    from pipeline.observe.tracking import open_store

    try:
        client, experiment = open_store(chosen.tracking_uri)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    found = best_rounds(client, experiment, chosen.metric)
    if not found:
        known = ", ".join(known_metrics(client, experiment)) or "none yet"
        print(f"error: METRIC={chosen.metric}: no round has it; valid: {known}.", file=sys.stderr)
        return 2
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("run", "round", "seed", chosen.metric, "label accuracy"):
        table.add_column(printable(name, 40), justify="left" if name == "run" else "right")
    for ranked in found:
        labels = ranked.metrics.get("label_accuracy")
        table.add_row(
            printable(ranked.run, 40),
            str(ranked.round) if ranked.round else "base",
            ranked.seed,
            f"{ranked.value:.3f}",
            "-" if labels is None else f"{labels:.2f}",
        )
    console.print(table)
    if found[0].policy:
        console.print(f"the best one's Solver: {printable(found[0].policy, 2000)}", soft_wrap=True)
    console.print(f"the same in the dashboard's search box: {search_string(chosen.metric)}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
