"""The pictures of a page of biomarkers."""

import numpy as np
from matplotlib.figure import Figure

from finetune.biomarkers.attribution import SHARES
from finetune.trial.pictures import INK, SOFT, plain
from foundation.statistics.table import Floats


def deletion_curve(ordered: Floats, random: Floats, what: str = "measurements") -> Figure:
    """Mean fall of the score by share taken away, with standard errors over patients."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    percent = 100 * np.array(SHARES[: ordered.shape[1]])
    for values, colour, name in ((ordered, INK, "those that add most first"), (random, SOFT, "in random order")):
        error = values.std(axis=0) / np.sqrt(len(values))
        axes.errorbar(percent, values.mean(axis=0), error, fmt="o-", color=colour, label=name, markersize=3)
    axes.set_xscale("log")
    axes.set(xlabel=f"% of {what} taken away", ylabel="fall of the score")
    axes.legend(frameon=False, fontsize=9)
    plain(axes)
    return figure
