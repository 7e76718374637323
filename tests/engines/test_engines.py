"""The helpers that engines share."""

from __future__ import annotations

import logging
import sys
import warnings

import pytest

from microbench import registry
from microbench.config import EngineConfig
from microbench.engines import check_grad, counts_as_text, quiet
from microbench.errors import SkippedError


def fail_with_noise() -> None:
    """Say something in every way there is, and fail."""
    warnings.warn("something", stacklevel=1)
    print("progress")
    print("progress", file=sys.stderr)
    logging.getLogger("library").error("something")
    raise ZeroDivisionError


@pytest.mark.filterwarnings("error")
def test_quiet_keeps_what_is_said_and_raises_what_is_raised(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ZeroDivisionError), quiet():
        fail_with_noise()
    assert capsys.readouterr() == ("", "")
    assert caplog.records == []


def test_after_quiet_all_is_said_again(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with quiet():
        pass
    print("result")
    logging.getLogger("library").error("something")
    assert capsys.readouterr().out == "result\n"
    assert len(caplog.records) == 1


def test_one_way_of_multiplying_is_reported_by_its_name_and_several_with_their_layers() -> None:
    assert counts_as_text({"avx512_vnni": 53}) == "avx512_vnni"
    assert counts_as_text({"fp32": 1, "avx512_vnni": 53}) == "avx512_vnni 53, fp32 1"


@pytest.mark.parametrize(
    ("engine", "options", "line"),
    [
        ("eager", {}, None),
        ("torchscript", {}, None),
        ("compile", {}, None),
        (
            "libtorch",
            {},
            "engine=libtorch keeps nothing for a backward pass in inference: use mode.grad=false",
        ),
        (
            "export",
            {},
            "engine=export keeps nothing for a backward pass in inference: use mode.grad=false, or",
        ),
        ("torchscript", {"freeze": True}, "engine.freeze=true makes the parameters constants"),
        ("torchscript", {"optimize": True}, "engine.optimize=true makes the parameters constants"),
        ("compile", {"freezing": True}, "engine.freezing=true makes the parameters constants"),
    ],
)
def test_what_keeps_nothing_for_a_backward_pass_is_skipped_with_autograd_on(
    engine: str, options: dict[str, bool], line: str | None
) -> None:
    found, config = registry.find("engines", engine), EngineConfig(engine, **options)
    if line is None:
        check_grad(found, config)
        return
    with pytest.raises(SkippedError, match=line):
        check_grad(found, config)
