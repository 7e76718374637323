"""Which models infer, and train, at a small size here? Prints a table, and why each of the others does not.

python benchmarks/coverage.py                          all groups: half an hour on 2 cores
python benchmarks/coverage.py 'torchvision det*' vgg*  groups, or models, of these names only
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import microbench
from microbench.options.torchvision import torchvision_models
from microbench.records.cases import CaseResult

FEW = {"rounds": 1, "max_samples": 1, "min_samples": 1, "min_time": 0.0, "max_warmup": 0.0}
LIGHT = {"measure": FEW, "threads": 1, "verify": False}  # whether they run, not how fast
MODES = ("infer", "train")
OUTPUTS = Path("outputs/coverage")


@dataclass(frozen=True)
class Group:
    """Models that are measured with the same options.

    Attributes:
        name: its name; several may have the same one, and are one row.
        models: values of `model=`.
        options: the other options, each with a value.
    """

    name: str
    models: Sequence[str]
    options: Mapping[str, Any]


SMALL = {
    "detection": [3, 128, 128],
    "optical_flow": [3, 128, 128],
    "segmentation": [3, 64, 64],
    "video": [3, 8, 64, 64],
}
"""Small inputs of torchvision's families; those of classifiers are `IMAGE`."""

IMAGE = [3, 96, 96]

OWN = {
    "inception_v3": [3, 299, 299],
    "maxvit_t": [3, 224, 224],
    "mvit_v1_b": [3, 16, 224, 224],
    "mvit_v2_s": [3, 16, 224, 224],
    "s3d": [3, 16, 224, 224],
    "vit_h_14": [3, 98, 98],
}
"""Inputs of models that take no smaller ones, or only multiples of another size."""


def torchvision() -> Iterator[Group]:
    """Yield torchvision's models, by family and input."""
    by_input: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for model, family in torchvision_models().items():
        name = family if family in (*SMALL, "quantization") else "classification"
        shape = tuple(OWN.get(model, SMALL.get(family, IMAGE)))
        by_input.setdefault((f"torchvision {name}", shape), []).append(model)
    for (name, shape), models in sorted(by_input.items()):
        yield Group(name, models, {"batch_size": 2, "model.input_shape": list(shape)})


GROUPS = (torchvision,)
"""What yields groups; more lists of models are more functions here."""


def chosen(patterns: Sequence[str]) -> Iterator[Group]:
    """Yield the groups, or the models in them, that match a pattern."""
    for group in (each for groups in GROUPS for each in groups()):
        names = [
            name
            for name in group.models
            if any(fnmatch(name, each) or fnmatch(group.name, each) for each in patterns)
        ]
        if names:
            yield Group(group.name, names, group.options)


def measured(group: Group) -> list[CaseResult]:
    """Measure a group's models in every mode, a process each."""
    shape = "x".join(map(str, group.options.get("model.input_shape", ())))
    folder = OUTPUTS / f"{group.name} {shape}".strip().replace(" ", "-")
    (folder / "records.jsonl").unlink(missing_ok=True)
    options = {name: [value] for name, value in group.options.items()}
    return microbench.sweep(model=group.models, mode=list(MODES), folder=folder, **LIGHT, **options).cases()


def main(patterns: Sequence[str]) -> int:
    """Print the table, and return how many cases failed; those that are skipped did not."""
    out = Console(width=200, highlight=False)
    counts: dict[str, list[int]] = {}
    failed = 0
    for group in chosen(patterns):
        row = counts.setdefault(group.name, [0, *(0 for _ in MODES)])
        row[0] += len(group.models)
        for case in measured(group):
            config, outcome = case.first.case.config, case.first.outcome
            if case.status == "ok":
                row[1 + MODES.index(config.mode.name)] += 1
            else:
                failed += case.status != "skipped"
                out.print(f"{config.model.name} {config.mode.name}: {case.status}: {outcome.error}")
    table = Table("", "models", *MODES)
    counts["all"] = [sum(column) for column in zip(*counts.values(), strict=True)]
    for name, row in counts.items():
        table.add_row(name, *map(str, row))
    out.print(table)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["*"]))
