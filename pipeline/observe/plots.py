"""Figures of a run, as matplotlib `Figure` objects: no pyplot, so no global state, no display and nothing to close."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

INK, FAINT, ACCENT = "#1f2933", "#c5ccd3", "#0b7285"
# Distinguishable to colour-blind eyes, in the order they are handed out (Okabe and Ito).
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#7f7f7f")
# The training curves that are drawn, where a step has them: metric, title, and whether the axis is a share from 0 to 1.
CURVES = (
    ("reward_mean", "reward", True),
    ("p_hat_mean", "p-hat", True),
    ("well_formed", "well-formed share", True),
    ("kl", "KL to reference", False),
    ("entropy", "entropy, nats", False),
    ("grad_norm", "gradient norm", False),
    ("clip_fraction", "clip fraction", False),
    ("mismatch_kl", "rollout-learner KL", False),
    ("zero_variance_groups", "zero-variance groups", False),
    ("response_length", "response length, tokens", False),
    ("repetition_share", "repetition share", False),
    ("distinct_clusters", "distinct clusters", False),
)


def blank(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(rows, columns, index + 1) for index in range(rows * columns)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(FAINT)
        axis.tick_params(colors=INK, labelsize=8)
    return figure, axes


def p_hat_histogram(p_hats_by_step: Mapping[int, Sequence[float]]) -> Figure:
    """How the Solver's agreement p-hat is distributed over the questions of each step: one histogram a step, oldest on top.

    A Challenger that learns moves the hump towards 1/2. The bins are centred on multiples of 1/10, the values that ten votes
    can take. The dot is the mean.
    """
    steps = sorted(p_hats_by_step)
    figure, axes = blank(6, 0.9 + 0.75 * len(steps), rows=max(1, len(steps)))
    bins = np.linspace(-0.05, 1.05, 12).tolist()
    shades = colormaps["viridis"](np.linspace(0.75, 0.25, max(1, len(steps))))
    for axis, step, shade in zip(axes, steps, shades, strict=False):
        values = np.asarray(p_hats_by_step[step], dtype=float)
        axis.hist(values, bins=bins, weights=np.full(len(values), 1 / max(1, len(values))), color=shade, rwidth=0.92)
        axis.axvline(0.5, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axis.set_xlim(-0.05, 1.05)
        axis.set_ylabel(f"step {step}", rotation=0, ha="right", va="center", fontsize=8, color=INK)
        axis.set_yticks([])
        axis.set_xticks(np.linspace(0, 1, 11))
        axis.tick_params(labelbottom=axis is axes[-1])
        if len(values):
            axis.set_title(f"mean {values.mean():.2f}", loc="right", fontsize=8, color=INK, pad=1)
    top = max((axis.get_ylim()[1] for axis in axes), default=1.0)
    for axis in axes:
        axis.set_ylim(0, top)
    axes[-1].set_xlabel("p-hat: share of the Solver's answers that agree", fontsize=9, color=INK)
    figure.suptitle("Questions by the Solver's agreement (dashed: 1/2, the most instructive)", fontsize=10, color=INK)
    return figure


def training_curves(steps: Sequence[Mapping[str, float]]) -> Figure:
    """One small panel for each metric of `CURVES` that any of the steps has; `steps[i]` are the metrics of step i + 1."""
    shown = [curve for curve in CURVES if any(curve[0] in step for step in steps)]
    columns = 3
    rows = max(1, -(-len(shown) // columns))
    figure, axes = blank(9, 0.4 + 2.1 * rows, rows=rows, columns=columns)
    for axis, (key, title, is_share) in zip(axes, shown, strict=False):
        points = [(number, step[key]) for number, step in enumerate(steps, start=1) if key in step]
        axis.plot(*zip(*points, strict=True), color=ACCENT, linewidth=1.6, marker="o", markersize=3)
        axis.set_title(title, loc="left", fontsize=9, color=INK)
        axis.grid(axis="y", color=FAINT, linewidth=0.4)
        axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
        axis.yaxis.get_offset_text().set_fontsize(8)
        if is_share:
            axis.set_ylim(-0.02, 1.02)
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    figure.supxlabel("step", fontsize=9, color=INK)
    return figure


def time_split(seconds: Mapping[str, float]) -> Figure:
    """Where the wall-clock time went: a bar for each part, longest on top, with its seconds and its share."""
    parts = sorted(seconds.items(), key=lambda part: part[1])
    total = sum(seconds.values())
    figure, (axis,) = blank(6.5, 0.9 + 0.32 * len(parts))
    bars = axis.barh([name for name, _ in parts], [spent for _, spent in parts], color=ACCENT, height=0.65)
    labels = [f"{spent:,.0f} s  ({spent / total:.0%})" if total else "0 s" for _, spent in parts]
    axis.bar_label(bars, labels, padding=4, fontsize=8, color=INK)
    axis.margins(x=0.22)
    axis.spines[["bottom"]].set_visible(False)
    axis.set_xticks([])
    axis.set_title(f"Time by part ({total:,.0f} s in all)", loc="left", fontsize=10, color=INK)
    return figure


def accuracy_by_round(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Held-out accuracy over the rounds: a panel for each way of answering, a line for each benchmark; round 0 is the base.

    Each row: {"round": 1, "benchmark": "heldout", "sampled": 0.52, "greedy": 0.61, "majority": 0.7}; ways may be missing.
    """
    ways = [way for way in ("sampled", "greedy", "majority") if any(way in row for row in rows)]
    benchmarks = list(dict.fromkeys(str(row["benchmark"]) for row in rows))
    figure, axes = blank(3 * max(1, len(ways)) + 1.5, 3.4, columns=max(1, len(ways)))
    for axis, way in zip(axes, ways, strict=False):
        for index, benchmark in enumerate(benchmarks):
            points = sorted((row["round"], row[way]) for row in rows if row["benchmark"] == benchmark and way in row)
            numbers, accuracies = [number for number, _ in points], [accuracy for _, accuracy in points]
            line = "-" if index < len(PALETTE) else "--"
            axis.plot(numbers, accuracies, line, color=PALETTE[index % len(PALETTE)], marker="o", markersize=4, label=benchmark)
        axis.set_title(way, loc="left", fontsize=9, color=INK)
        axis.set_ylim(-0.02, 1.02)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axis.grid(axis="y", color=FAINT, linewidth=0.4)
    if ways:
        axes[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    figure.suptitle("Held-out accuracy", fontsize=10, color=INK)
    figure.supxlabel("round (0: base model)", fontsize=9, color=INK)
    return figure
