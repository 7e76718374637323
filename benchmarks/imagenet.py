"""Print what torchvision publishes of its weights' accuracy on ImageNet, as CSV; it downloads nothing.

    python benchmarks/imagenet.py > microbench/reference/torchvision_imagenet.csv

A report draws accuracy against latency from this file, because the process that draws it imports no torch.
It has one row per weights: the model, the weights' name, the top-1 accuracy in percent, the side in pixels of
the square images that it was measured with, and whether these are the model's default weights.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator

COLUMNS = ("model", "weights", "top1", "crop", "is_default")


def rows() -> Iterator[tuple[str, str, float, int, bool]]:
    """Yield the weights of every classifier, by model."""
    from torchvision import models

    for name in models.list_models():
        weights = models.get_model_weights(name)
        default = getattr(weights, "DEFAULT", None)
        for each in weights:
            accuracy = each.meta.get("_metrics", {}).get("ImageNet-1K", {}).get("acc@1")
            crop = getattr(each.transforms, "keywords", {}).get("crop_size")
            if accuracy is not None and crop is not None:
                yield name, each.name, accuracy, crop, each is default


if __name__ == "__main__":
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows())
