import csv
from collections.abc import Callable
from math import isclose
from typing import Any

import pytest
import torch

from microbench.analysis import published_tables
from microbench.profile.calls import Call
from microbench.profile.trace import trace
from microbench.records.record import Kind

COLUMNS = ["name", "type", "in_shape", "out_shape", "params", "flops", "mem_r", "mem_w", "mem_rw", "macc"]


def rows_of(table: str) -> list[dict[str, str]]:
    with (published_tables.FOLDER / f"{table}.csv").open() as file:
        return list(csv.DictReader(file))


def modules(root: Call) -> list[Call]:
    return [call for call, _ in root.walk() if call.kind is Kind.MODULE]


def row(call: Call) -> dict[str, str]:
    counts = call.counts
    assert call.module is not None
    values = {
        "name": f".{call.name}",
        "type": call.type,
        "in_shape": tuple(call.in_shapes[0]),
        "out_shape": tuple(call.out_shapes[0]),
        "params": sum(each.numel() for each in call.module.parameters()),
        "flops": counts.flops,
        "mem_r": counts.mem_r,
        "mem_w": counts.mem_w,
        "mem_rw": counts.mem_r + counts.mem_w,
        "macc": counts.macc,
    }
    return {name: str(value) for name, value in values.items()}


def calls_of(classifier: Callable[..., Any], name: str) -> list[Call]:
    model, image = classifier(name)
    with torch.no_grad():
        return modules(trace(model, lambda: model(image)))


def test_every_published_layer_of_mobilenet_v2_is_reproduced_exactly(classifier: Callable[..., Any]) -> None:
    rows = [row(call) for call in calls_of(classifier, "mobilenet_v2")]
    wanted = [{column: each[column] for column in COLUMNS} for each in rows_of("rasp_mobilenet_v2_layers")]
    assert len(wanted) == 141
    assert rows == wanted


QUANTITIES = ("params", "flops")
MODELS: dict[str, dict[str, float]] = {}
for each in rows_of("rasp_torchvision_cpu"):
    if each["quantity"] in QUANTITIES:
        MODELS.setdefault(each["workload"], {})[each["quantity"]] = float(each["value"])


# GoogLeNet's auxiliary classifiers do not run, and were not counted.
@pytest.mark.parametrize("name", MODELS)
def test_published_parameters_are_reproduced_to_the_printed_digits(
    name: str, classifier: Callable[..., Any]
) -> None:
    model, _ = classifier(name)
    ran = [each.numel() for owner, each in model.named_parameters() if not owner.startswith("aux")]
    assert f"{sum(ran) / 1e6:.2f}" == f"{MODELS[name]['params'] / 1e6:.2f}"


# The published column named flops holds multiply-accumulates: twice their number would be far off.
# torchvision has changed the MNASNets since.
@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("mnasnet")])
def test_published_multiply_accumulates_are_reproduced_within_three_percent(
    name: str, classifier: Callable[..., Any]
) -> None:
    macc = sum(call.counts.macc for call in calls_of(classifier, name))
    assert isclose(macc, MODELS[name]["flops"], rel_tol=0.03)
