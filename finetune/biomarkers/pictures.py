"""The pictures of a page of biomarkers."""

from collections.abc import Sequence

import numpy as np
from matplotlib.collections import PatchCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from finetune.biomarkers.attribution import SHARES
from finetune.trial.pictures import INK, SOFT, plain
from foundation.statistics.table import Floats


def deletion_curve(
    ordered: Floats, random: Floats, what: str = "measurements", shares: Sequence[float] = SHARES
) -> Figure:
    """Mean fall of the score by share taken away, with standard errors over patients."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    percent = 100 * np.array(shares)
    for values, colour, name in ((ordered, INK, "those it goes by first"), (random, SOFT, "in random order")):
        error = values.std(axis=0) / np.sqrt(len(values))
        axes.errorbar(percent, values.mean(axis=0), error, fmt="o-", color=colour, label=name, markersize=3)
    axes.set_xscale("log")
    axes.set(xlabel=f"% of {what} taken away", ylabel="fall of the score")
    axes.legend(frameon=False, fontsize=9)
    plain(axes)
    return figure


def slide_map(corners: NDArray[np.int64], fall: Floats, picture: tuple[Image.Image, float] | None) -> Figure:
    """Tiles at their places, red where the score falls without them and blue where it rises.

    Args:
        corners: upper left of each tile, full-resolution pixels, `[tiles, 2]`.
        fall: of the score without each, `[tiles]`.
        picture: of the slide, and full-resolution pixels to one of its own.
    """
    scale = 1.0 if picture is None else picture[1]
    places = corners / scale
    steps = np.concatenate([np.diff(np.unique(places[:, axis])) for axis in (0, 1)])
    side = float(steps[steps > 0].min()) if (steps > 0).any() else 1.0
    figure = Figure(figsize=(7, 5.5), layout="constrained")
    axes = figure.subplots()
    if picture is not None:
        axes.imshow(np.asarray(picture[0]))
    limit = max(float(np.abs(fall).max()), 1e-12)
    tiles = PatchCollection(
        [Rectangle((x, y), side, side) for x, y in places.tolist()],
        cmap="RdBu_r", norm=Normalize(-limit, limit), alpha=0.6 if picture else 1.0,
    )  # fmt: skip
    tiles.set_array(fall)
    axes.add_collection(tiles)
    axes.set(xlim=(places[:, 0].min() - side, places[:, 0].max() + 2 * side), aspect="equal", xticks=[], yticks=[])
    axes.set_ylim(places[:, 1].max() + 2 * side, places[:, 1].min() - side)
    figure.colorbar(tiles, label="fall of the score without the tile", shrink=0.7)
    return figure
