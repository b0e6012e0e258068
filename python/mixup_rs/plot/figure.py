"""Figures of matplotlib, and an image with a line of text below it."""

from __future__ import annotations

from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURE_INCHES = 2.2
#: The height of a figure of many samples, whose pictures are made smaller.
TALLEST_INCHES = 12.0
_FONT_POINTS = 9
#: Characters of that size that fit under a picture.
_LINE_CHARACTERS = 30
OWN, PARTNER, MUTED = "#1f6feb", "#d9480f", "#57606a"


def show(axes: Axes, image: np.ndarray, text: str, color: str) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=1)
    if len(text) > _LINE_CHARACTERS:
        text = text.replace(" + ", " +\n")
    longest = max(map(len, text.split("\n")))
    axes.set_xlabel(text, fontsize=_FONT_POINTS * min(1, _LINE_CHARACTERS / max(longest, 1)), color=color)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def new_figure(size: tuple[float, float], path: str | PathLike[str] | None) -> Figure:
    """A figure of pyplot's; one of its own if it is to be saved."""
    options: dict[str, Any] = {"figsize": size, "dpi": 100 if path is None else 150, "layout": "constrained"}
    if path is not None:
        from matplotlib.figure import Figure

        return Figure(**options)
    from matplotlib import pyplot

    figure = pyplot.figure(**options)
    # A notebook shows the value of the last line of a cell, then all figures of pyplot: this one would come twice.
    figure._ipython_display_ = partial(_display, figure)  # type: ignore[attr-defined]
    return figure


def _display(figure: Figure) -> None:
    """Take a figure that a notebook is about to show from pyplot, and leave it to IPython's own way with figures."""
    from matplotlib import pyplot

    if "inline" in pyplot.get_backend():
        pyplot.close(figure)
    raise NotImplementedError  # by which IPython goes on to the next way


def save(figure: Figure, path: str | PathLike[str] | None) -> Figure:
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    return figure
