"""How pictures look: colours that the colour-blind tell apart, with a marker and a hatch for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.artist import Artist

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":")
HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "++++", "oooo")


@dataclass(frozen=True)
class Style:
    """The colours of a picture.

    Attributes:
        colours: of series, in order.
        ink: of text and axes.
        faint: of grids and captions.
        paper: of the background.
    """

    colours: Sequence[str]
    ink: str
    faint: str
    paper: str

    def colour(self, place: int) -> str:
        """Return the colour of a series."""
        return self.colours[place % len(self.colours)]

    @property
    def settings(self) -> dict[Any, Any]:
        """The settings of matplotlib."""
        return {
            "axes.edgecolor": self.faint,
            "axes.facecolor": self.paper,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.labelcolor": self.ink,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlecolor": self.ink,
            "axes.titlesize": "medium",
            "axes.titleweight": "bold",
            "errorbar.capsize": 3,
            "figure.facecolor": self.paper,
            "font.family": "DejaVu Sans",  # which matplotlib has: the same picture everywhere
            "font.size": 9,
            "grid.alpha": 0.35,
            "grid.color": self.faint,
            "grid.linewidth": 0.6,
            "hatch.color": self.paper,
            "hatch.linewidth": 0.7,
            "legend.frameon": False,
            "legend.labelcolor": self.ink,
            "lines.linewidth": 1.6,
            "lines.markersize": 6,
            "savefig.facecolor": self.paper,
            "svg.hashsalt": "microbench",
            "text.color": self.ink,
            "text.parse_math": False,
            "xtick.color": self.ink,
            "xtick.labelcolor": self.ink,
            "ytick.color": self.ink,
            "ytick.labelcolor": self.ink,
        }


# Okabe, Ito: Color Universal Design (2008); yellow, too pale on white, comes last.
LIGHT = Style(
    ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442"),
    ink="#1f2328",
    faint="#59636e",
    paper="#ffffff",
)
DARK = Style(
    ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#ffffff", "#0072B2"),
    ink="#f0f6fc",
    faint="#9198a1",
    paper="#0d1117",
)


class Mark(Enum):
    """What stands for a series in a legend."""

    LINE = auto()
    POINT = auto()
    BAR = auto()


@dataclass(frozen=True)
class Looks:
    """How the series of a picture look: the same in all its panels.

    Attributes:
        style: the picture's style.
        names: the series, in order.
    """

    style: Style
    names: Sequence[str]

    def line(self, name: str) -> dict[str, Any]:
        """Return how a series' line with error bars is drawn."""
        place = self.names.index(name)
        return {
            "color": self.style.colour(place),
            "marker": MARKERS[place % len(MARKERS)],
            "linestyle": LINES[place % len(LINES)],
        }

    def points(self, name: str) -> dict[str, Any]:
        """Return how a series' points are drawn."""
        place = self.names.index(name)
        return {"color": self.style.colour(place), "marker": MARKERS[place % len(MARKERS)]}

    def bar(self, name: str) -> dict[str, Any]:
        """Return how a series' bars are drawn."""
        place = self.names.index(name)
        return {
            "facecolor": self.style.colour(place),
            "hatch": HATCHES[place % len(HATCHES)],
            "edgecolor": self.style.paper,
            "linewidth": 0.5,
        }

    def hollow(self, name: str) -> dict[str, Any]:
        """Return how a series' bar is drawn that is not significant."""
        colour = self.bar(name)["facecolor"]
        return self.bar(name) | {"facecolor": self.style.paper, "edgecolor": colour, "linewidth": 1.4}

    def legend(self, name: str, mark: Mark) -> Artist:
        """Return a series' entry in the legend."""
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        if mark is Mark.BAR:
            return Patch(label=name, **self.bar(name))
        line = self.line(name) | ({"linestyle": "none"} if mark is Mark.POINT else {})
        return Line2D([], [], label=name, **line)
