"""What the runs of `jobs/rising.py` say: curves, the main effects of switches, and how well the stop rule picks a round."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from jobs.outcomes import LAST, OUTCOMES, lost_points, main_effects, outcomes
from jobs.plans import Results, Variant
from pipeline.algorithm.stop_rule import TRUSTED
from pipeline.observe import markdown

THRESHOLDS = tuple(step / 20 for step in range(2, 17))  # 0.1 to 0.8


def curves_section(results: Results, variants: Sequence[Variant]) -> str:
    """Mean sampled accuracy by round of each variant, over its finished runs, and how their last round is."""
    from jobs.table_results import cell

    last = ("heldout greedy", "heldout majority", "labels right")
    rows = []
    for variant in variants:
        rounds = results.get(variant.name, {})
        if seeds := sorted(rounds.get(LAST, {})):
            sampled = [[rounds[each][seed]["heldout sampled"] for seed in seeds] for each in range(1, LAST + 1)]
            rise = [after - before for before, after in zip(sampled[2], sampled[-1], strict=True)]
            ends = [fmean(rounds[LAST][seed][name] for seed in seeds) for name in last]
            curve = (f"{100 * value:.1f}" for value in (*map(fmean, sampled), *ends))
            rows.append([variant.label, len(seeds), *curve, cell(rise, "rise")])
    head = ["", "seeds", *map(str, range(1, LAST + 1)), "greedy", "majority", "labels right", f"{LAST} less 3"]
    words = f"Runs of all {LAST} rounds; greedy, majority and labels after the last."
    return "\n\n".join(["## Sampled accuracy by round", words, markdown.table(head, rows) if rows else "No run is finished yet."])


def effects_section(results: Results, runs: Sequence[Variant], factors: Mapping[str, Sequence[str]]) -> str:
    """The main effects, from the runs that are finished; `runs` are named by their switches, "1" for on.

    `factors`: the settings of each switch, by its name.
    """
    jobs = [(run.name, run.seeds.start) for run in runs]
    found = [(name, seed, made) for name, seed in jobs if (made := outcomes(results, name, seed)) is not None]
    switches = markdown.table(["switch", "settings"], [[name, f"`{' '.join(each)}`"] for name, each in factors.items()])
    parts = ["## Main effects", switches, f"{len(found)} of {len(runs)} runs; with the switch less without, in points."]
    settings, seeds = [[bit == "1" for bit in name] for name, _, _ in found], [seed for _, seed, _ in found]
    columns = [main_effects(settings, seeds, [made[outcome] for *_, made in found]) if found else None for outcome in OUTCOMES]
    cells = [[f"{100 * centre:+.1f} ± {100 * half:.1f}" for centre, half in column] for column in columns if column is not None]
    if len(cells) < len(columns):
        return "\n\n".join([*parts, "Too few runs for effects."])
    rows = [[factor, *(column[place] for column in cells)] for place, factor in enumerate(factors)]
    return "\n\n".join([*parts, markdown.table(["switch", *OUTCOMES], rows)])


def stop_section(results: Results) -> str:
    """What the stop rule would have lost, beside always taking the last round or round 2: mean points of sampled accuracy.

    The threshold is to be chosen on other runs than those that its loss is reported on.
    """
    rows = []
    for threshold in sorted({*THRESHOLDS, TRUSTED}):
        if lost := lost_points(results, threshold):
            means = [fmean(each[name] for each in lost) for name in ("rule", "last", "round 2")]
            name = f"{threshold:.2f}, the setting" if threshold == TRUSTED else f"{threshold:.2f}"
            rows.append([name, len(lost), *(f"{100 * value:.1f}" for value in means)])
    head = ["trusted from", "runs", "lost by the rule", "by the last round", "by round 2"]
    words = "Points of sampled accuracy that the picked round is below the run's best one. The rule sees no label."
    return "\n\n".join(["## The stop rule", words, markdown.table(head, rows) if rows else "No run has its signals yet."])
