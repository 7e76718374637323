from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from microbench import engines
from microbench.engines import Program
from microbench.engines.capture.failures import CompileError
from microbench.errors import SkippedError
from microbench.host.state import threads_set
from microbench.modes import infer

from .support import assert_same, eagers, job_of, net_job


def libraries() -> set[Path]:
    """Return the libraries that were made by AOTInductor, and are in this process's memory."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {Path(line.split()[-1]) for line in lines if line.endswith("wrapper.so")}


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    """The net, exported and compiled on one thread."""
    with threads_set(1):
        made = engines.prepare(net_job("export", training=False))
    yield made
    made.close()


def test_an_exported_module_infers_as_eager_does(program: Program) -> None:
    assert program.info.engine == "aotinductor"
    assert_same(infer.Mode().answer(program), eagers(net_job("export", training=False)))


def test_freezing_in_bf16_packs_constants_and_closing_removes_every_file() -> None:
    """Weights of linear layers are packed for oneDNN where that computes in bf16, natively or emulated."""
    packs = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    before = libraries()
    torch.manual_seed(0)
    options: dict[str, Any] = {"engine.freezing": True, "precision": "bf16"}
    job = job_of(nn.Linear(4, 3), torch.randn(2, 4), engine="export", **options)
    counters.clear()
    made = engines.prepare(job)
    assert counters["inductor"]["mkldnn_linear_weight_pack_matcher_count"] == int(packs)
    found = infer.Mode().answer(made)
    assert found.outputs[0].dtype == torch.bfloat16
    torch.manual_seed(0)
    wanted = eagers(job_of(nn.Linear(4, 3), torch.randn(2, 4), engine="eager"))
    assert_same(found, wanted, tolerance=2e-2)
    own = libraries() - before
    assert len(own) == 1
    made.close()
    assert not own.pop().exists()


class Branches(nn.Module):
    """What it computes depends on its input's values."""

    def forward(self, value: Tensor) -> Tensor:
        return value * 2 if value.sum() > 0 else value


def test_a_module_that_is_no_one_graph_is_skipped_with_the_reason() -> None:
    with pytest.raises(SkippedError, match=r"^torch.export cannot make one graph of tiny: \w+"):
        engines.prepare(job_of(Branches(), torch.ones(2), engine="export"))


def test_a_module_that_fails_by_itself_fails_as_itself() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        engines.prepare(job_of(nn.Linear(3, 2), torch.ones(1, 4), engine="export"))
    assert not isinstance(caught.value, (CompileError, SkippedError))


def test_it_does_not_train() -> None:
    with pytest.raises(SkippedError, match=r"^engine=export does not train"):
        engines.prepare(net_job("export", training=True))


def test_without_a_cpp_compiler_it_is_skipped_and_says_what_to_install() -> None:
    without = torch._inductor.config.patch({"cpp.cxx": (None, "no-such-compiler")})
    with without, pytest.raises(SkippedError, match=r"^engine=export needs a C\+\+ compiler"):
        engines.prepare(net_job("export", training=False))
