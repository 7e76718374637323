from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fakes import FakeDevice
from torch import nn

from microbench.devices import open_device
from microbench.profile.chrome import write_trace


class Around(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x)


def test_a_trace_has_the_names_of_the_models_own_layers_despite_a_wrapper(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    around = Around(model)
    write_trace(model, lambda: around(torch.ones(2, 4)), open_device("cpu"), tmp_path / "sub" / "trace.json")
    events = json.loads((tmp_path / "sub" / "trace.json").read_text())["traceEvents"]
    names = {event["name"] for event in events if event.get("cat") == "user_annotation"}
    assert names == {"model (Sequential)", "0 (Linear)", "1 (ReLU)"}


@pytest.mark.parametrize(("seconds", "calls"), [(0.1, 3), (3.0, 2), (60.0, 1)])
def test_slow_calls_are_traced_less_often(seconds: float, calls: int, tmp_path: Path) -> None:
    device, model = FakeDevice(), nn.ReLU()

    def call() -> None:
        model(torch.ones(2))
        device.clock.advance(seconds)

    write_trace(model, call, device, tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert len([event for event in events if event.get("name") == "model (ReLU)"]) == calls
