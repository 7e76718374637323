"""device.mkldnn=false: what it switches off, and where it would do nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from microbench import devices, engines
from microbench.engines import Job
from microbench.errors import SkippedError
from microbench.formats import mkldnn
from microbench.options.compose import from_options
from microbench.workloads import Workload
from microbench.workloads.objectives import OnesGradient

ONEDNN = "aten::mkldnn_convolution"


def job(**options: Any) -> Job:
    """Return a convolution large enough for oneDNN."""
    (case,) = from_options(
        {"model": "dense", "mode": "infer", "device": "cpu", "threads": 1, **options}, False
    )
    module = nn.Conv2d(16, 16, 3).eval()
    return Job(Workload("mine", module, (torch.randn(4, 16, 12, 12),), OnesGradient()), case.config, False)


@pytest.mark.skipif(not mkldnn.is_usable(), reason="torch has no oneDNN here")
@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("engine", ["eager", "torchscript"])
def test_convolutions_are_onednns_or_not(engine: str, layout: str, asked: bool) -> None:
    of = job(engine=engine, layout=layout, **{"device.mkldnn": asked})
    with devices.open_device("cpu").prepared(of.config), torch.inference_mode():
        call = engines.prepare(of).call
        with torch.autograd.profiler.profile() as profile:
            call()
    assert (ONEDNN in {event.name for event in profile.function_events}) is asked


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"engine": "openvino"},
            "engine=openvino has its own kernels, which device.mkldnn=false does not affect",
        ),
        (
            {"engine": "onnxruntime"},
            "engine=onnxruntime has its own kernels, which device.mkldnn=false does not affect",
        ),
        (
            {"engine": "torchscript", "engine.optimize": True},
            "engine.optimize=true makes graphs that call oneDNN even with device.mkldnn=false",
        ),
        (
            {"engine": "compile", "engine.freezing": True},
            "engine.freezing=true makes graphs that call oneDNN even with device.mkldnn=false",
        ),
    ],
)
def test_where_it_would_do_nothing_the_case_is_skipped(options: dict[str, Any], line: str) -> None:
    with pytest.raises(SkippedError) as caught:
        engines.prepare(job(**options, **{"device.mkldnn": False}))
    assert str(caught.value) == line
    on = job(**options)
    engines.engine_of(on.config, on.training)
