"""Torchvision's models: names, families, and what each takes by default, without importing torchvision.

The names are read from torchvision's source, so that listing or completing them takes milliseconds: importing
torchvision takes seconds. Sizes are those that the transforms of each model's default weights crop to. Where
they crop nothing, sizes are those of torchvision's reference training: detectors, which resize images by
themselves, and RAFT. Clips have the 16 frames for which torchvision counts every video model's operations.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_REGISTERED = re.compile(
    r'^@register_model\((?:name="(\w+)")?[^)]*\)\n.*?^def (\w+)\(', re.MULTILINE | re.DOTALL
)

DETECTION, SEGMENTATION, VIDEO, FLOW = "detection", "segmentation", "video", "optical_flow"

DEFAULTS: dict[str, dict[str, Any]] = {
    DETECTION: {"input_shape": [3, 800, 800], "num_classes": 91},
    SEGMENTATION: {"input_shape": [3, 520, 520], "num_classes": 21, "aux_weight": 0.5},
    VIDEO: {"input_shape": [3, 16, 224, 224], "num_classes": 400},
    FLOW: {"input_shape": [3, 368, 496]},
}
"""The options of a family's models; those of every other family, classifiers, are `CLASSIFIER`."""

CLASSIFIER = {"input_shape": [3, 224, 224]}

SIZES = {
    "efficientnet_b1": 240,
    "efficientnet_b2": 288,
    "efficientnet_b3": 300,
    "efficientnet_b4": 380,
    "efficientnet_b5": 456,
    "efficientnet_b6": 528,
    "efficientnet_b7": 600,
    "efficientnet_v2_l": 480,
    "efficientnet_v2_m": 480,
    "efficientnet_v2_s": 384,
    "fasterrcnn_mobilenet_v3_large_320_fpn": 320,
    "inception_v3": 299,
    "mc3_18": 112,
    "quantized_inception_v3": 299,
    "r2plus1d_18": 112,
    "r3d_18": 112,
    "regnet_y_128gf": 384,
    "ssd300_vgg16": 300,
    "ssdlite320_mobilenet_v3_large": 320,
    "swin_v2_b": 256,
    "swin_v2_s": 256,
    "swin_v2_t": 256,
    "vit_h_14": 518,
}
"""Width and height of the images that differ from those of the model's family."""

CLASSES = {"keypointrcnn_resnet50_fpn": 2}
"""Numbers of classes that differ from those of the model's family."""


@cache
def torchvision_models() -> dict[str, str]:
    """Return torchvision's models, each with its family: what it does or, of classifiers, its module."""
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        return {}
    root = Path(spec.origin).parent / "models"
    return {
        given or name: file.relative_to(root).with_suffix("").parts[0]
        for file in sorted(root.rglob("*.py"))
        for given, name in _REGISTERED.findall(file.read_text("utf-8"))
    }


def options_of(name: str) -> dict[str, Any]:
    """Return the options of `model` for one of torchvision's models."""
    found = {"source": "torchvision", "name": name, **DEFAULTS.get(torchvision_models()[name], CLASSIFIER)}
    if name in SIZES:
        found["input_shape"] = [*found["input_shape"][:-2], SIZES[name], SIZES[name]]
    if name in CLASSES:
        found["num_classes"] = CLASSES[name]
    return found
