"""The best rounds of all runs: `make best`, or `make best METRIC=heldout_hard_greedy`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from conf.errors import ConfigError
from conf.schema import Config
from jobs.cli import command
from pipeline.observe.terminal import console, printable, table_of


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 found, 2 no such metric, or no store."""
    parser = argparse.ArgumentParser(prog="python -m jobs.best", description="List the best rounds of all runs.")
    parser.add_argument("--metric", default="heldout_sampled", help="what to rank by, highest first (default: %(default)s)")
    parser.add_argument("--tracking-uri", default=Config.tracking_uri, help="tracking store (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    if chosen.tracking_uri.startswith("sqlite:///") and not Path(chosen.tracking_uri.removeprefix("sqlite:///")).exists():
        raise ConfigError(f"--tracking-uri={chosen.tracking_uri}: there is no store yet; `make round` creates it.")
    from pipeline.observe.registry import best_rounds, known_metrics, search_string  # mlflow takes seconds to import
    from pipeline.observe.tracking import open_store

    client, experiment = open_store(chosen.tracking_uri, moved=True)
    rounds = best_rounds(client, experiment, chosen.metric)
    if not rounds:
        metrics = ", ".join(known_metrics(client, experiment)) or "none yet"
        raise ConfigError(f"METRIC={chosen.metric}: no round has it; valid: {metrics}.")
    table = table_of("run", "round", "seed", printable(chosen.metric, 40), "label accuracy")
    for ranked in rounds:
        labels = f"{ranked.metrics['label_accuracy']:.2f}" if "label_accuracy" in ranked.metrics else "-"
        round_ = str(ranked.round) if ranked.round else "base"
        table.add_row(printable(ranked.run, 40), round_, ranked.seed, f"{ranked.value:.3f}", labels)
    console.print(table)
    if rounds[0].policy:
        console.print(f"Solver of the best round: {printable(rounds[0].policy, 2000)}", soft_wrap=True)
    console.print(f"the same in the dashboard's search box: {search_string(chosen.metric)}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
