from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch._inductor.utils import fresh_cache

from microbench import engines
from microbench.engines import Job, Program
from microbench.engines.capture.failures import CompileError
from microbench.errors import SkippedError, UserError
from microbench.host.state import threads_set
from microbench.modes import infer, train
from microbench.verify.reference import answer_of

from .support import assert_same, eagers, job_of, net_job

Prepare = Callable[[Job], Program]


@pytest.fixture
def prepare() -> Iterator[Prepare]:
    """Makes programs on one thread, which are closed with the test."""
    with ExitStack() as stack:
        stack.enter_context(threads_set(1))

        def make(job: Job) -> Program:
            program = engines.prepare(job)
            stack.callback(program.close)
            return program

        yield make


def dense_job(**options: Any) -> Job:
    """Return a dense layer, which compiles quickly because it needs no C++ compiler."""
    torch.manual_seed(0)
    return job_of(nn.Linear(4, 3), torch.randn(2, 4), engine="compile", **options)


def cache_counts() -> tuple[int, int]:
    """Return inductor's cache hits and misses since the last preparation."""
    return counters["inductor"]["fxgraph_cache_hit"], counters["inductor"]["fxgraph_cache_miss"]


def test_a_compiled_module_infers_as_eager_does_and_is_not_compiled_again(prepare: Prepare) -> None:
    program = prepare(net_job("compile", training=False))
    compiled = dict(counters["stats"])
    assert compiled["unique_graphs"] == 1
    found = infer.Mode().answer(program)
    assert counters["stats"] == compiled
    assert program.info.engine == "inductor"
    assert_same(found, eagers(net_job("compile", training=False)))


def test_a_compiled_module_trains_as_eager_does_from_the_same_state(prepare: Prepare) -> None:
    job, state = net_job("compile", training=True), torch.get_rng_state()
    program = prepare(job)
    assert torch.equal(torch.get_rng_state(), state)
    assert job.workload.module.normalization.num_batches_tracked == 0
    assert all(each.grad is None for each in program.parameters)
    found, wanted = (
        answer_of(train.Mode(), each, seed=0) for each in (program, prepare(net_job("eager", training=True)))
    )
    assert_same(found, wanted)
    assert job.workload.module.normalization.num_batches_tracked == 1


def test_the_backward_pass_is_compiled_before_the_first_step(prepare: Prepare) -> None:
    value = torch.randn(2, 4, requires_grad=True)
    program = prepare(job_of(nn.Linear(4, 3), value, engine="compile", training=True))
    compiled = dict(counters["inductor"])
    train.Mode().answer(program)
    assert counters["inductor"] == compiled


def test_warm_caches_are_used_and_cold_ones_are_empty_and_of_the_case_alone(prepare: Prepare) -> None:
    folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    prepare(dense_job())
    prepare(dense_job())
    assert cache_counts() == (1, 0)
    program = engines.prepare(dense_job(**{"engine.cache": "cold"}))
    assert cache_counts() == (0, 1)
    cold = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert any(cold.rglob("*.py"))
    program.close()
    assert not cold.parent.exists()
    assert folder in (None, os.environ.get("TORCHINDUCTOR_CACHE_DIR"))


def test_code_for_another_number_of_threads_is_not_taken_from_the_cache(prepare: Prepare) -> None:
    with fresh_cache():
        for threads, found in ((1, (0, 1)), (2, (0, 1)), (1, (1, 0))):
            with threads_set(threads):
                prepare(dense_job())
            assert cache_counts() == found


@pytest.mark.parametrize("variable", ["ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"])
def test_code_for_other_instructions_is_not_taken_from_the_cache(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """torch's own kernels read the first variable when loaded, so here it is set directly."""
    with fresh_cache():
        for limit, found in (("avx512", (0, 1)), ("avx2", (0, 1)), ("avx512", (1, 0))):
            if variable == "ATEN_CPU_CAPABILITY":
                monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda limit=limit: limit)
            else:
                monkeypatch.setenv(variable, limit)
            prepare(dense_job())
            assert cache_counts() == found


def test_freezing_packs_constant_weights(prepare: Prepare) -> None:
    program = prepare(dense_job(**{"engine.freezing": True}))
    assert counters["inductor"]["mkldnn_linear_weight_pack_matcher_count"] == 1
    assert_same(infer.Mode().answer(program), eagers(dense_job()))


def test_freezing_does_not_train(prepare: Prepare) -> None:
    with pytest.raises(SkippedError, match=r"^engine.freezing=true makes the parameters constants"):
        prepare(net_job("compile", training=True, **{"engine.freezing": True}))


class Broken(nn.Module):
    """Multiplies, after TorchDynamo was interrupted."""

    def forward(self, value: Tensor) -> Tensor:
        value = torch.relu(value)
        torch._dynamo.graph_break()
        return value * 2


def test_graph_breaks_are_counted(prepare: Prepare) -> None:
    program = prepare(job_of(Broken(), torch.ones(2), engine="compile", **{"engine.backend": "eager"}))
    assert program.info.engine == "eager, 1 graph break"
    assert infer.Mode().answer(program).outputs[0].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("module", "value", "reason"),
    [
        (nn.LSTM(4, 4), torch.randn(2, 1, 4), "Dynamo does not support RNN, GRU, or LSTM"),
        (nn.Identity(), torch.ones(2), "there is nothing to capture"),
    ],
)
def test_what_is_left_to_eager_is_skipped(
    prepare: Prepare, module: nn.Module, value: Tensor, reason: str
) -> None:
    with pytest.raises(SkippedError, match=r"^torch.compile leaves tiny as it is: ") as caught:
        prepare(job_of(module, value, engine="compile"))
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"mode": "reduce-overhead"},
            r"^engine.mode=reduce-overhead records CUDA graphs, so it has no effect",
        ),
        (
            {"backend": "cudagraphs"},
            r"^engine.backend=cudagraphs records CUDA graphs, so it has no effect",
        ),
        ({"mode": "max-autotune"}, r"compiles what engine.mode=default does.*engine.freezing=true"),
        ({"backend": "eager", "freezing": True}, r"^engine.freezing is an option of engine.backend=inductor"),
        ({"backend": "eager", "cache": "cold"}, r"^engine.cache is an option of engine.backend=inductor"),
        ({"backend": "tvm"}, r"^engine.backend=tvm: \w*Error: .*tvm"),
    ],
)
def test_an_option_that_would_do_nothing_here_skips(
    prepare: Prepare, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SkippedError, match=message):
        prepare(dense_job(**{f"engine.{name}": value for name, value in options.items()}))


def test_an_unknown_backend_is_answered_with_the_nearest(prepare: Prepare) -> None:
    with pytest.raises(UserError, match=r"Unknown engine.backend 'inducter'. Did you mean inductor\?"):
        prepare(dense_job(**{"engine.backend": "inducter"}))


def test_a_backend_that_fails_is_reported_in_one_line(prepare: Prepare) -> None:
    options = {"engine.backend": "relu_compile_error_TESTING_ONLY"}
    with pytest.raises(CompileError, match=r"^engine.backend=relu_compile_error.*: ReluCompileError$"):
        prepare(job_of(Broken(), torch.ones(2), engine="compile", **options))


def test_a_module_that_fails_by_itself_fails_as_itself(prepare: Prepare) -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        prepare(job_of(nn.Linear(3, 2), torch.ones(1, 4), engine="compile", **{"engine.backend": "eager"}))
    assert not isinstance(caught.value, CompileError)


def test_without_a_cpp_compiler_it_is_skipped_and_says_what_to_install(prepare: Prepare) -> None:
    without = torch._inductor.config.patch({"cpp.cxx": (None, "no-such-compiler")})
    with (
        without,
        pytest.raises(SkippedError, match=r"^engine=compile needs a C\+\+ compiler.*apt install g\+\+"),
    ):
        prepare(dense_job())


@pytest.mark.parametrize("precision", ["bf16", "amp_bf16"])
def test_bf16_and_autocast_compute_nearly_what_eager_fp32_does(prepare: Prepare, precision: str) -> None:
    found = infer.Mode().answer(prepare(dense_job(precision=precision)))
    assert found.outputs[0].dtype == torch.bfloat16
    assert_same(found, eagers(dense_job()), tolerance=2e-2)
