"""Rounds without labels that keep rising: the preset `rising` over five seeds, and a factorial of switches for the labels.

Both plans are written down before their runs. `python -m jobs.rising` runs the preset beside the larger phase alone, the steps
from that to the preset, and the paper's ablations on the preset; `--factorial` the 32 runs in which each of six switches is on in
16 and off in 16. No label but the votes is used.
"""

import sys
from collections.abc import Sequence
from itertools import product

from conf.errors import ConfigError
from jobs.cli import command
from jobs.lanes import options, run_plan
from jobs.plans import LARGER, Plan, Variant
from jobs.rising_summary import curves_section, effects_section, stop_section

FACTORS = {
    "zone": ("reward.scorers=[zone,repetition]", "curriculum.keep=[4,7]"),
    "gate": ("curriculum.confident=0.5",),
    "agreement": ("curriculum.agreement=2",),
    "verdicts": ("solver.verdicts=0.1",),
    "replay": ("curriculum.replay=5",),
    "anchor": ("grpo.reference=base",),
}


def factorial() -> tuple[Variant, ...]:
    """2^(6-1) in four blocks of eight, one a seed: a fraction of resolution VI (anchor = zone gate agreement verdicts replay).

    Each factor is on in 16 runs, four of each block; no main effect is confounded with an interaction of fewer than five factors
    or with a block. The blocks (zone gate agreement, agreement verdicts replay) are confounded with agreement x anchor.
    """
    variants = []
    for five in product((False, True), repeat=5):
        on = (*five, sum(five) % 2 == 1)
        chosen = [name for name, used in zip(FACTORS, on, strict=True) if used]
        seed = sum(five[:3]) % 2 + 2 * (sum(five[2:]) % 2)
        overrides = tuple(override for name in chosen for override in FACTORS[name])
        name = "".join(str(int(used)) for used in on)
        variants.append(Variant(name, ", ".join(chosen) or "none", 6, overrides, range(seed, seed + 1), stage=2))
    return tuple(variants)


LARGER_PHASE = Variant("larger", "larger phase", 6)
# The plan's sizes are above those of the preset, so that its own are given again.
PRESET = Variant("rising", "preset rising", 6, ("preset=rising", "solver.steps=40", "curriculum.questions=1344"))
HALF = ("solver.average=0.5", "curriculum.agreement=1")
HALF_STEP = Variant("half", "half a step back", 6, HALF, range(3))
REPLAY = Variant("replay", "half a step back, questions of all rounds", 6, (*HALF, "curriculum.replay=5"), range(2))
CONFIDENT = Variant(
    "confident",
    "half a step back, the more confident half of three times the questions",
    6,
    (*HALF, "curriculum.questions=1344", "curriculum.confident=0.5"),
    range(2),
)
FRESH = Variant(
    "fresh",
    "the same, the Challenger anew from the base in each round",
    6,
    (*CONFIDENT.overrides, "challenger.start=base"),
    range(2),
)
# The ablations of `make table`, each on the preset.
ABLATIONS = tuple(
    Variant(name, f"preset rising, {label}", rounds, (*PRESET.overrides, *overrides), range(3), stage=2)
    for name, label, rounds, overrides in (
        ("untrained-challenger", "untrained Challenger", 3, ("challenger.steps=0",)),
        ("no-repetition-penalty", "no repetition penalty", 2, ("reward.scorers=[triangular]",)),
        ("no-filter", "no filter", 2, ("curriculum.keep=[]", "curriculum.delta=0.5", "curriculum.agreement=0")),
        ("one-model", "one model for both roles", 2, ("policies=shared", "challenger.start=previous")),
        ("official-reward", "the public code's reward", 2, ("reward.scorers=[official]",)),
    )
)
RUNS = factorial()
FACTORIAL = Plan(
    name="factorial",
    module="jobs.rising",
    command="python -m jobs.rising --factorial",
    title="Six switches for better labels",
    variants=RUNS,
    reference=RUNS[0],
    folder="factorial",
    settings=LARGER,
    appends=True,
    summary=lambda results: f"{effects_section(results, RUNS, FACTORS)}\n\n{stop_section(results)}",
)
VARIANTS = (PRESET, LARGER_PHASE, HALF_STEP, REPLAY, CONFIDENT, FRESH, *ABLATIONS)
RISING = Plan(
    name="rising",
    module="jobs.rising",
    command="python -m jobs.rising",
    title="Rounds that keep rising",
    variants=VARIANTS,
    reference=PRESET,
    folder="rising",
    settings=LARGER,
    appends=True,
    summary=lambda results: f"{curves_section(results, VARIANTS)}\n\n{stop_section(results)}",
)


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 done, 1 a lane failed, 130 or 143 interrupted."""
    parser = options(RISING, "Rounds without labels that keep rising: the preset `rising` over five seeds.")
    parser.add_argument("--factorial", action="store_true", help="the 32 runs of six switches")
    chosen = parser.parse_args(arguments)
    if chosen.factorial and chosen.seeds is not None:
        raise ConfigError(f"--seeds {chosen.seeds}: each of the 32 runs has its own seed; valid with --factorial: no --seeds.")
    return run_plan(FACTORIAL if chosen.factorial else RISING, arguments, chosen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
