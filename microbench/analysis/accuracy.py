"""The accuracy that torchvision publishes of its weights, for models that were measured without them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from microbench.config import ModelConfig

FILE = Path(__file__).parents[1] / "reference" / "torchvision_imagenet.csv"
"""Written by `benchmarks/imagenet.py`."""

CLASSES = 1000  # of ImageNet
SAME_LAYERS = {"init_weights"}
"""Arguments of a model's constructor that do not change its layers."""


@dataclass(frozen=True)
class Weights:
    """Published weights of a model.

    Attributes:
        name: their name in torchvision, such as `IMAGENET1K_V2`.
        top1: the share of ImageNet's validation images that they classify correctly, in percent.
        crop: the side in pixels of the square images that this was measured with.
        is_default: whether they are the model's default weights.
    """

    name: str
    top1: float
    crop: int
    is_default: bool


@cache
def published() -> Mapping[str, Sequence[Weights]]:
    """Return the weights of each of torchvision's classifiers."""
    found: dict[str, list[Weights]] = {}
    with FILE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            weights = Weights(
                row["weights"], float(row["top1"]), int(row["crop"]), row["is_default"] == "True"
            )
            found.setdefault(row["model"], []).append(weights)
    return found


def weights_of(model: ModelConfig) -> Weights | None:
    """Return the weights whose accuracy holds for a model at its input's size.

    These are its default weights; if those were trained for another size, the most accurate ones for this
    size. None if there are none, for a part of a model, and for one whose layers differ.
    """
    is_plain = model.num_classes == CLASSES and {*model.kwargs} <= SAME_LAYERS
    if model.source != "torchvision" or model.part is not None or not model.input_shape or not is_plain:
        return None
    sides = set(model.input_shape[1:])
    fitting = [each for each in published().get(model.name, ()) if sides == {each.crop}]
    return max(fitting, key=lambda each: (each.is_default, each.top1), default=None)
