from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from microbench import engines
from microbench.errors import SkippedError, first_line
from microbench.modes import infer, train
from microbench.verify.reference import answer_of

from .support import assert_same, eagers, job_of, net_job


@pytest.mark.parametrize("options", [{}, {"engine.freeze": True}, {"engine.optimize": True}])
def test_a_traced_module_infers_as_eager_does(options: dict[str, Any]) -> None:
    program = engines.prepare(net_job("torchscript", training=False, **options))
    assert program.info.engine == "torchscript"
    assert_same(infer.Mode().answer(program), eagers(net_job("torchscript", training=False)))


@pytest.mark.parametrize("options", [{"engine.freeze": True}, {"engine.optimize": True}])
def test_freezing_makes_the_parameters_constants(options: dict[str, Any]) -> None:
    program = engines.prepare(net_job("torchscript", training=False, **options))
    with torch.inference_mode():
        program.call()
    graph = str(torch.jit.last_executed_optimized_graph())
    assert "prim::GetAttr" not in graph
    assert "batch_norm" not in graph
    assert ("mkldnn_convolution" in graph) == ("engine.optimize" in options)


def test_a_traced_module_trains_the_parameters_of_the_module() -> None:
    job = net_job("torchscript", training=True)
    program = engines.prepare(job)
    assert [id(each) for each in program.parameters] == [
        id(each) for each in job.workload.module.parameters()
    ]
    wanted = net_job("torchscript", training=True)
    with torch.no_grad():
        for each in (*program.parameters, *wanted.workload.module.parameters()):
            each.mul_(0.5)
    torch.manual_seed(1)
    found = train.Mode().answer(program)
    torch.manual_seed(1)
    assert_same(found, eagers(wanted))


def test_preparing_leaves_statistics_gradients_and_random_numbers_as_they_were() -> None:
    job = net_job("torchscript", training=True)
    state = torch.get_rng_state()
    program = engines.prepare(job)
    assert torch.equal(torch.get_rng_state(), state)
    assert job.workload.module.normalization.num_batches_tracked == 0
    assert all(each.grad is None for each in program.parameters)


def test_a_check_without_dropout_traces_again() -> None:
    found, wanted = (
        answer_of(train.Mode(), engines.prepare(net_job(engine, training=True)), seed=0)
        for engine in ("torchscript", "eager")
    )
    assert_same(found, wanted)


@pytest.mark.parametrize("option", ["freeze", "optimize"])
def test_constants_do_not_train(option: str) -> None:
    with pytest.raises(SkippedError, match=f"^engine.{option}=true makes the parameters constants"):
        engines.prepare(net_job("torchscript", training=True, **{f"engine.{option}": True}))


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [({"precision": "bf16"}, 2e-2), ({"precision": "amp_bf16"}, 2e-2), ({"layout": "channels_last"}, 1e-4)],
)
def test_every_precision_and_layout_computes_what_eager_does(
    options: dict[str, Any], tolerance: float
) -> None:
    program = engines.prepare(net_job("torchscript", training=False, **options))
    found = infer.Mode().answer(program)
    assert_same(found, eagers(net_job("torchscript", training=False)), tolerance)
    assert (found.outputs[0].dtype == torch.bfloat16) == ("precision" in options)


def test_an_autocast_that_a_trace_leaves_out_skips() -> None:
    layer, value = nn.LSTM(4, 4), torch.randn(2, 1, 4)
    try:
        engines.prepare(job_of(layer, value, engine="eager", precision="amp_bf16")).call()
    except RuntimeError as error:  # which the worker tells
        pytest.skip(f"no LSTM under autocast on this CPU: {first_line(error)}")
    job = job_of(layer, value, engine="torchscript", precision="amp_bf16")
    with pytest.raises(SkippedError, match=r"^tracing tiny leaves out torch.autocast"):
        engines.prepare(job)


class Outputs(nn.Module):
    """Puts out what no traced function can."""

    def forward(self, value: Tensor) -> Any:
        return {"double": value * 2, "nothing": None}


def test_outputs_that_no_trace_can_put_out_are_put_out_in_a_row() -> None:
    program = engines.prepare(job_of(Outputs(), torch.ones(2), engine="torchscript"))
    assert infer.Mode().answer(program).outputs[0].tolist() == [2, 2]


class Untraceable(nn.Module):
    """Works, but not under a trace."""

    def forward(self, value: Tensor) -> Tensor:
        if torch.jit.is_tracing():
            raise ValueError("no traces\nof mine")
        return value


def test_a_module_that_cannot_be_traced_is_skipped_with_the_reason() -> None:
    job = job_of(Untraceable(), torch.ones(2), engine="torchscript")
    with pytest.raises(SkippedError, match=r"cannot be traced: no traces$"):
        engines.prepare(job)


def test_a_module_that_fails_by_itself_fails_as_itself() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        engines.prepare(job_of(nn.Linear(3, 2), torch.ones(1, 4), engine="torchscript"))


def test_nothing_is_said_of_torchscripts_end() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        program = engines.prepare(net_job("torchscript", training=False))
        infer.Mode().answer(program)
    assert told == []


def test_the_first_call_is_one_of_optimized_code() -> None:
    program = engines.prepare(net_job("torchscript", training=False))
    with torch.inference_mode():
        graphs = []
        for _ in range(2):
            program.call()
            graphs.append(str(torch.jit.last_executed_optimized_graph()))
    assert graphs[0] == graphs[1]
    assert "prim::profile" not in graphs[0]
