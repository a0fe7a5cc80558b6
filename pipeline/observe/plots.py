"""The distribution of p-hat as a figure, which MLflow cannot chart. No pyplot, so no global state and no display."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

INK = "#1f2933"


def p_hat_histogram(p_hats_by_step: Mapping[int, Sequence[float]]) -> Figure:
    """How the Solver's agreement p-hat is distributed over the questions of each step: one histogram per step, oldest on top.

    A learning Challenger moves the mode towards 1/2. The bins are centred on multiples of 1/10, the values that ten votes
    can take.
    """
    steps = sorted(p_hats_by_step)
    figure = Figure(figsize=(6, 0.9 + 0.75 * len(steps)), dpi=120, layout="constrained")
    axes = figure.subplots(max(1, len(steps)), sharex=True, sharey=True, squeeze=False)[:, 0]
    bins = np.linspace(-0.05, 1.05, 12).tolist()
    shades = colormaps["viridis"](np.linspace(0.75, 0.25, len(axes)))
    for axis, step, shade in zip(axes, steps, shades, strict=False):
        values = np.asarray(p_hats_by_step[step], dtype=float)
        axis.hist(values, bins=bins, weights=np.full(len(values), 1 / max(1, len(values))), color=shade, rwidth=0.92)
        axis.axvline(0.5, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_ylabel(f"step {step}", rotation=0, ha="right", va="center", fontsize=8, color=INK)
        if len(values):
            axis.set_title(f"mean {values.mean():.2f}", loc="right", fontsize=8, color=INK, pad=1)
    axes[0].set(xlim=(-0.05, 1.05), xticks=np.linspace(0, 1, 11), yticks=[])
    axes[-1].tick_params(labelsize=8)
    axes[-1].set_xlabel("p-hat: share of the Solver's answers that agree", fontsize=9, color=INK)
    figure.suptitle("Questions by the Solver's agreement (dashed: 1/2, the most instructive)", fontsize=10, color=INK)
    return figure
