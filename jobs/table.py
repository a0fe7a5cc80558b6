"""The paper's table in small: variants of the algorithm on the tiny base, several seeds each: `make table`.

Each variant and seed is a normal run in runs/table/, so that an interrupted table resumes; `make status RUNS=runs/table`
shows them. The results are written to docs/results/ (`jobs/table_results.py`).
"""

import sys
from collections.abc import Sequence

from jobs.cli import command
from jobs.lanes import options, run_plan
from jobs.plans import Plan, Variant

VARIANTS = (
    Variant("r-zero", "R-Zero", 6),
    Variant("untrained-challenger", "untrained Challenger", 3, ("challenger.steps=0",)),
    Variant("no-repetition-penalty", "no repetition penalty", 2, ("reward.scorers=[triangular]",)),
    Variant("no-filter", "no filter", 2, ("curriculum.delta=0.5",)),
    Variant("one-model", "one model for both roles", 2, ("policies=shared",)),
    Variant("official-reward", "the public code's reward", 2, ("reward.scorers=[official]",)),
    # More seeds for the main comparison, whose difference is small.
    Variant("r-zero", "R-Zero", 3, seeds=range(5, 7)),
    Variant("untrained-challenger", "untrained Challenger", 3, ("challenger.steps=0",), range(5, 7)),
)
# Options that might help over many rounds.
OPTIONS = (
    Variant("validity-vote", "R-Zero, validity vote", 6, ("reward.scorers=[triangular,repetition,validity]",), range(3)),
    Variant("memory", "R-Zero, memory", 6, ("reward.scorers=[triangular,repetition,memory]",), range(3)),
    Variant("narrow-filter", "R-Zero, narrow filter", 6, ("curriculum.delta=0.15",), range(3)),
    Variant("replay", "R-Zero, replay", 6, ("curriculum.replay=2",), range(5)),  # more seeds, since it seems to help
)
TABLE = Plan("table", "jobs.table", "make table", "Table", VARIANTS, VARIANTS[0], "table")
WHAT_HELPS = Plan("options", "jobs.table", "make table OPTIONS=1", "Options", OPTIONS, VARIANTS[0], "table")


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 done, 1 a lane failed, 130 or 143 interrupted."""
    parser = options(TABLE, "Compare variants of R-Zero on the tiny base.")
    parser.add_argument("--options", action="store_true", help="the options that might help over many rounds")
    chosen = parser.parse_args(arguments)
    return run_plan(WHAT_HELPS if chosen.options else TABLE, arguments, chosen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
