from __future__ import annotations

import csv
from importlib.resources import files

import pytest
import torch
from torchvision import models

from microbench.analysis.energy import estimate
from microbench.config import EnergyConfig
from microbench.profile.calls import Call
from microbench.profile.dry_run import dry_run
from microbench.records.record import Kind


def published() -> dict[str, float]:
    text = (files("microbench.reference") / "rasp_torchvision_cpu.csv").read_text()
    rows = csv.DictReader(text.splitlines())
    return {row["workload"]: float(row["value"]) for row in rows if row["quantity"] == "energy"}


def modules(call: Call) -> list[Call]:
    return [each for each, _ in call.walk() if each.kind is Kind.MODULE]


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "shufflenet_v2_x1_0", "squeezenet1_1"])
def test_a_models_energy_is_within_one_percent_of_the_published_one(name: str) -> None:
    model = models.get_model(name, weights=None).eval()
    with torch.no_grad():
        calls = modules(dry_run(model, (torch.empty(1, 3, 224, 224),)))
    energy = sum(
        estimate(call.counts.macc, call.counts.mem_r + call.counts.mem_w, call.dtype, EnergyConfig())
        for call in calls
    )
    assert energy == pytest.approx(published()[name], rel=0.01)
