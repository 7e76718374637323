from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from microbench import workloads
from microbench.config import ModelConfig
from microbench.errors import SkippedError, UserError
from microbench.watch.tensors import tensors
from microbench.workloads import Workload, library

CPU = torch.device("cpu")


def built(training: bool = False) -> Workload:
    pytest.importorskip("ultralytics")
    config = ModelConfig("ultralytics", "yolov5s", input_shape=[3, 64, 64], num_classes=20)
    return workloads.build(config, 2, CPU, training, seed=0)


def test_it_trains_with_its_own_loss() -> None:
    workload = built(training=True)
    loss = workload.objective(workload.module(*workload.inputs))
    assert loss.dim() == 0
    assert loss.isfinite()
    workload.objective.backward(loss)
    learned = [each for each in workload.module.parameters() if each.requires_grad]
    assert all(each.grad is not None for each in learned)


def test_it_infers_boxes_of_three_scales() -> None:
    workload = built()
    assert (workload.shape(), workload.item) == ("2x3x64x64", "images")
    with torch.inference_mode():
        first = next(tensors(workload.module(*workload.inputs)))
    assert first.shape == (2, 4 + 20, 8 * 8 + 4 * 4 + 2 * 2)


@pytest.mark.parametrize(("option", "value"), [("kwargs", {"scale": "n"}), ("args", [1]), ("input_high", 3)])
def test_options_that_it_does_not_have_are_refused(option: str, value: object) -> None:
    config = replace(ModelConfig("ultralytics", "yolov5s", input_shape=[3, 64, 64]), **{option: value})
    with pytest.raises(UserError, match=rf"^model\.{option} .*: leave it out"):
        workloads.build(config, 2, CPU, False, seed=0)


def test_it_leaves_the_environment_and_the_home_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    before = dict(os.environ)
    built()
    assert dict(os.environ) == before
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_the_case_is_skipped_with_the_install_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    config = ModelConfig("ultralytics", "yolov5s", input_shape=[3, 64, 64])
    with pytest.raises(
        SkippedError, match=r"^model=yolov5s needs ultralytics \(licence: AGPL-3.0\): pip install .*\[yolo\]"
    ):
        workloads.build(config, 2, CPU, False, seed=0)
