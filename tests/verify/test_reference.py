"""The reference answer: eager fp32 on the same weights and inputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from microbench import workloads
from microbench.config import PrecisionConfig, plain
from microbench.verify.reference import (
    Reference,
    is_reference,
    put_back,
    rounding,
    shift,
    without_dropout,
)
from microbench.workloads import Workload

from .support import config, parts, program


@pytest.mark.parametrize(
    "options",
    [
        {"engine__name": "compile"},
        {"precision": PrecisionConfig("bf16", cast="bfloat16")},
        {"layout": "channels_last"},
        {"device__mkldnn": False},
    ],
)
def test_eager_fp32_alone_is_the_reference(options: dict[str, Any]) -> None:
    assert is_reference(config())
    assert not is_reference(config(**options))
    assert is_reference(plain(config(**options)))


def test_eager_fp32_is_the_reference_whatever_its_tolerance_and_device() -> None:
    assert is_reference(config(tolerance=0.5, precision__tolerance=0.5, threads=2, allocator="tuned"))


def test_the_reference_is_of_the_same_work() -> None:
    case = config("train", precision=PrecisionConfig("bf16", cast="bfloat16"), layout="mkldnn", seed=3)
    found = plain(case)
    assert (found.model, found.mode, found.batch_size, found.seed) == (case.model, case.mode, 2, 3)


@pytest.mark.parametrize(
    ("precision", "share"),
    [
        (PrecisionConfig("bf16", cast="bfloat16"), 2**-8),
        (PrecisionConfig("amp_bf16", autocast="bfloat16"), 2**-8),
        (PrecisionConfig("fp16", cast="float16"), 2**-11),
        (PrecisionConfig("tf32"), 2**-11),
        (PrecisionConfig("int8"), 3 * 2**-9),  # of a typical value, which is a third of the range
        (PrecisionConfig("fp32"), 2**-20),
    ],
)
def test_a_number_is_off_by_half_the_distance_to_the_next(precision: PrecisionConfig, share: float) -> None:
    assert rounding(precision) == share


def test_the_reference_computes_what_the_module_computes() -> None:
    case = config(precision=PrecisionConfig("bf16", cast="bfloat16"))
    workload = workloads.build(case.model, 2, torch.device("cpu"), False, case.seed)
    (output,) = Reference(case, *parts(case)).answer().outputs
    assert torch.equal(output, workload.module(*workload.inputs))


def test_shifting_moves_weights_and_inputs_by_up_to_that_share_and_no_more() -> None:
    case = config()
    one, other = (workloads.build(case.model, 2, torch.device("cpu"), False, 0) for _ in range(2))
    shift(other, 0.25)
    for new, old in zip(
        (*other.module.parameters(), *other.inputs), (*one.module.parameters(), *one.inputs), strict=True
    ):
        shares = (new / old - 1).abs()
        assert 0.01 < shares.max() <= 0.2501
        assert (shares > 0).all()


def test_numbers_of_a_shorter_type_are_shifted_as_far_as_it_rounds() -> None:
    tensor = torch.ones(1000, dtype=torch.bfloat16)
    workload = Workload("w", nn.Identity(), (tensor, tensor), None)  # type: ignore[arg-type]
    shift(workload, 2**-20)
    assert set(tensor.unique().tolist()) == {1 - 2**-8, 1.0}
    indices = torch.arange(3)
    shift(replace(workload, inputs=(indices,)), 0.25)
    assert indices.tolist() == [0, 1, 2]


class TestPuttingBack:
    @pytest.mark.parametrize("precision", [PrecisionConfig("fp32"), PrecisionConfig("bf16", "bfloat16")])
    def test_weights_buffers_and_inputs_are_restored_after_training(self, precision: PrecisionConfig) -> None:
        case = config("train", model__cls="torch.nn.BatchNorm1d", model__args=[4], precision=precision)
        ready, fresh, wanted = program(case), program(case).workload, program(case).workload
        ready.call().sum().backward()
        with torch.no_grad():
            for tensor in (*ready.parameters, *ready.workload.inputs):
                tensor.add_(1)
        put_back(ready, fresh, training=True)
        for found, other in zip(tensors_of(ready.workload), tensors_of(wanted), strict=True):
            assert torch.equal(found, other)
            assert found.dtype == other.dtype

    def test_inputs_are_restored_before_inference(self) -> None:
        case = config(model__cls="torch.relu_", model__args=[])
        ready, fresh = program(case), program(case).workload
        ready.call()
        assert not torch.equal(ready.workload.inputs[0], fresh.inputs[0])
        put_back(ready, fresh, training=False)
        assert torch.equal(ready.workload.inputs[0], fresh.inputs[0])

    def test_blocked_inputs_are_restored(self) -> None:
        case = config()
        ready, fresh = program(case), program(case).workload
        blocked = torch.zeros(2, 4).to_mkldnn()
        ready = replace(ready, workload=replace(ready.workload, inputs=(blocked,)))
        put_back(ready, fresh, training=False)
        assert torch.equal(blocked.to_dense(), fresh.inputs[0])

    def test_a_program_with_other_parameters_is_refused(self) -> None:
        case = config("train")
        ready = program(case)
        with pytest.raises(ValueError, match="zip"):
            put_back(replace(ready, parameters=ready.parameters[:1]), program(case).workload, training=True)


def tensors_of(workload: Workload) -> list[Tensor]:
    return [*workload.module.parameters(), *workload.module.buffers(), *workload.inputs]


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.attention = nn.MultiheadAttention(4, 1, dropout=0.25)
        self.lstm = nn.LSTM(4, 4, 2, dropout=0.125)
        self.depth = StochasticDepth(0.5, "batch")
        self.linear = nn.Linear(4, 4)


class TestQuieting:
    def test_dropout_is_off_meanwhile_and_restored_afterwards(self) -> None:
        module = Nested().train()
        with without_dropout(module) as drops:
            assert drops
            assert (module.dropout.training, module.depth.training) == (False, False)
            assert (module.attention.dropout, module.lstm.dropout) == (0.0, 0.0)
            assert module.linear.training
            assert module.attention.training
        assert all(each.training for each in module.modules())
        assert (module.attention.dropout, module.lstm.dropout) == (0.25, 0.125)

    def test_dropout_is_restored_after_an_error(self) -> None:
        module = nn.Dropout(0.5).train()
        with pytest.raises(RuntimeError), without_dropout(module):
            raise RuntimeError
        assert module.training

    def test_a_module_that_drops_nothing_is_left_alone(self) -> None:
        module = nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 4), nn.MultiheadAttention(4, 1)).train()
        with without_dropout(module) as drops:
            assert not drops
            assert all(each.training for each in module.modules())

    @pytest.mark.filterwarnings("ignore::FutureWarning")  # that TorchScript is to go
    def test_torchscript_modules_are_recognized_by_their_classes(self) -> None:
        module = nn.Sequential(nn.Dropout(0.5)).train()
        script, ones = torch.jit.script(module), torch.ones(100)
        with without_dropout(script) as drops:
            assert drops
            assert torch.equal(script(ones), ones)
        assert not torch.equal(script(ones), ones)
