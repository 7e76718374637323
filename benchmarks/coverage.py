"""Which models infer, and train, at a small size here? Prints a table, and why each of the others does not.

    python benchmarks/coverage.py [--modes infer train …] [NAME …]

Without names it measures all groups, which takes an hour on 2 cores. A name, which may have wildcards, is
that of a group ('torchvision det*') or of a model (vgg*). With --modes layers, a model counts if it runs, and
so do its layers that can be measured alone. Exits with the number of cases that failed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from others import TIMM, TRANSFORMERS, YOLO
from rich.console import Console
from rich.table import Table

import microbench
from microbench.options.torchvision import torchvision_models
from microbench.records.cases import CaseResult

FEW = {"rounds": 1, "max_samples": 1, "min_samples": 1, "min_time": 0.0, "max_warmup": 0.0}
LIGHT = {"measure": FEW, "threads": 1, "verify": False}  # whether they run, not how fast
MODES = ("infer", "train", "profile", "layers")
FINE = ("ok", "skipped")
OUTPUTS = Path("outputs/coverage")


@dataclass(frozen=True)
class Group:
    """Models that are measured with the same options.

    Attributes:
        name: its name; several may have the same one, and are one row.
        models: values of the option.
        options: the other options, each with a value.
        option: the option that names the model; None for module objects.
    """

    name: str
    models: Sequence[Any]
    options: Mapping[str, Any]
    option: str | None = "model"


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


def timm() -> Iterator[Group]:
    """Yield models of timm, by the size of their images."""
    for side in sorted(set(TIMM.values())):
        models = [f"timm/{name}" for name, own in TIMM.items() if own == side]
        yield Group("timm", models, {"batch_size": 2, "model.input_shape": [3, side, side]})


def transformers() -> Iterator[Group]:
    """Yield models of transformers."""
    for model, options in TRANSFORMERS.items():
        yield Group("transformers", [model], {"batch_size": 2, **options})


def yolo() -> Iterator[Group]:
    """Yield ultralytics' YOLOv5s."""
    for model, options in YOLO.items():
        yield Group("ultralytics", [model], {"batch_size": 2, **options})


MODULE = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.output = nn.Embedding(50, 16), nn.Linear(16, 4)

    def forward(self, ids):
        hidden = self.embedding(ids).mean(1)
        return {"logits": self.output(hidden), "hidden": hidden}
"""


def own() -> Iterator[Group]:
    """Yield a user's own modules: in a Python file, in an ONNX file, and an object of a notebook's cell."""
    import torch

    OUTPUTS.mkdir(parents=True, exist_ok=True)
    (OUTPUTS / "net.py").write_text(MODULE)
    ids = {"model.inputs": {"ids": {"shape": [8], "dtype": "int64", "high": 50}}}
    loss = {"model.objective": "cross_entropy"}
    yield Group("own", [f"{OUTPUTS}/net.py:Net"], {**ids, **loss}, "model.file")
    yield Group("own", [str(exported(OUTPUTS / "net.onnx"))], {"engine": "onnxruntime"}, "model.file")
    exec(MODULE, cell := {"__name__": "__main__"})
    yield Group(
        "own",
        [cell["Net"]()],
        {"inputs": {"ids": torch.randint(50, (2, 8))}, "objective": "cross_entropy"},
        None,
    )


def exported(path: Path) -> Path:
    """Export a small model to an ONNX file."""
    import torch

    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(torch.nn.Linear(8, 4).eval(), (torch.randn(8, 8),), path, dynamo=True)
    return path


GROUPS = (torchvision, timm, transformers, yolo, own)
"""What yields groups; more lists of models are more functions here."""


def chosen(patterns: Sequence[str]) -> Iterator[Group]:
    """Yield the groups, or the models in them, that match a pattern."""
    for group in (each for groups in GROUPS for each in groups()):
        names = [
            name
            for name in group.models
            if any(fnmatch(str(name), each) or fnmatch(group.name, each) for each in patterns)
        ]
        if names:
            yield replace(group, models=names)


def measured(group: Group, mode: str) -> list[CaseResult]:
    """Measure a group's models in a mode, a process each."""
    shape = "x".join(map(str, group.options.get("model.input_shape", ())))
    first = group.models[0] if isinstance(group.models[0], str) else "object"
    folder = OUTPUTS / f"{group.name} {first} {shape} {mode}".replace(" ", "-").replace("/", "-")
    (folder / "records.jsonl").unlink(missing_ok=True)
    if group.option is None:
        return microbench.sweep(*group.models, mode=[mode], folder=folder, **LIGHT, **group.options).cases()
    options = {name: [value] for name, value in group.options.items()} | {group.option: group.models}
    return microbench.sweep(mode=[mode], folder=folder, **LIGHT, **options).cases()


def running(cases: Sequence[CaseResult]) -> int:
    """Return how many models run: themselves, and their layers if these are cases too."""
    by_model: dict[str, list[CaseResult]] = {}
    for case in cases:
        by_model.setdefault(case.config.model.name, []).append(case)
    return sum(
        each[0].status == "ok" and all(case.status in FINE for case in each) for each in by_model.values()
    )


def main() -> int:
    """Print the table, and return how many cases failed; those that are skipped did not."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--modes", nargs="+", default=("infer", "train"), choices=MODES)
    parser.add_argument("names", nargs="*", default=["*"], metavar="NAME")
    arguments = parser.parse_args()
    out = Console(width=200, highlight=False)
    counts: dict[str, list[int]] = {}
    failed = 0
    for group in chosen(arguments.names):
        row = counts.setdefault(group.name, [0, *(0 for _ in arguments.modes)])
        row[0] += len(group.models)
        for column, mode in enumerate(arguments.modes, 1):
            cases = measured(group, mode)
            row[column] += running(cases)
            failed += sum(case.status not in FINE for case in cases)
            for case in cases:
                if case.status != "ok" and (case.config.model.part is None or case.status not in FINE):
                    name = ":".join(filter(None, (case.config.model.name, case.config.model.part)))
                    out.print(f"{name} {mode}: {case.status}: {case.first.outcome.error}", markup=False)
    table = Table("", "models", *arguments.modes)
    counts["all"] = [sum(column) for column in zip(*counts.values(), strict=True)]
    for name, row in counts.items():
        table.add_row(name, *map(str, row))
    out.print(table)
    return failed


if __name__ == "__main__":
    sys.exit(main())
