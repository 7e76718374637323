"""Only a case that is faster than the machine can be is implausible."""

from __future__ import annotations

from typing import Any

import pytest

from microbench import devices
from microbench.config import PrecisionConfig
from microbench.records.peaks import Peaks
from microbench.verify import plausible, verify
from microbench.verify.reference import Reference

from .support import config, parts, program

PEAK = 1e11
FLOPS = 2 * 2 * 4 * 3  # of the layer of `config`, batch 2
INT8, BF16 = PrecisionConfig("int8"), PrecisionConfig("bf16", cast="bfloat16")
FP16 = PrecisionConfig("amp_fp16", autocast="float16")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The devices whose peaks were asked for; a quick product reaches a quarter of these."""
    asked: list[str] = []

    def peaks(device: Any) -> Peaks:
        asked.append(device.name)
        return Peaks(PEAK, None, "", "", (), 1e-6)

    monkeypatch.setattr(plausible, "peaks", peaks)
    monkeypatch.setattr(plausible, "_reached", lambda device: PEAK / 4)
    return asked


def told(
    seconds: float, eager: float = 1.0, again: float = 1.0, training: bool = False, **options: Any
) -> str | None:
    """Return why a time is implausible; `eager`: seconds of eager fp32's first call, `again`: of another."""
    cpu = devices.open_device("cpu")
    return plausible.implausible(config(**options), cpu, training, seconds, eager, lambda: again)


def test_more_than_ten_times_the_peak_is_doubted(asked: list[str]) -> None:
    reason = told(FLOPS / (11 * PEAK))
    assert reason is not None
    assert reason.startswith("48 FLOPs in 4.36e-11 s are 11 times the 1e+11 FLOP/s that the machine reaches")
    assert told(FLOPS / (9 * PEAK)) is None
    assert asked == ["cpu", "cpu"]


def test_peaks_are_not_measured_if_a_quick_product_shows_enough(asked: list[str]) -> None:
    assert told(FLOPS / (2 * PEAK)) is None
    assert asked == []


def test_nothing_is_counted_where_it_is_not_ten_times_as_fast_as_eager(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plausible, "counted", lambda *each: pytest.fail("counted"))
    assert told(FLOPS / (11 * PEAK), eager=FLOPS / (2 * PEAK)) is None
    assert told(FLOPS / (11 * PEAK), again=FLOPS / (2 * PEAK)) is None
    assert told(0.0) is None


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_eager_is_called_for_the_first_time_once_more_before_anything_is_counted(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(plausible, "counted", lambda *each: pytest.fail("counted"))
    of = config(mode)
    device, ran = parts(of)
    assert 0 < Reference(of, device, ran).seconds() < 10
    assert verify(of, device, ran, program(of), seconds=1.0, first=1000.0).implausible is None


def test_a_time_in_which_eager_cannot_have_done_the_work_is_doubted(asked: list[str]) -> None:
    of = config()
    device, mode = parts(of)
    reason = verify(of, device, mode, program(of), seconds=FLOPS / (11 * PEAK), first=1.0).implausible
    assert reason is not None
    assert "11 times the 1e+11 FLOP/s" in reason


def test_the_backward_pass_counts_in_training(asked: list[str]) -> None:
    cpu = devices.open_device("cpu")
    assert plausible.counted(config(), cpu, training=False) == FLOPS
    # The gradient of the weight is a product of the same size; that of the input is not wanted.
    assert plausible.counted(config(mode="train", model__input_grad=False), cpu, training=True) == 2 * FLOPS


def test_what_cannot_be_counted_is_not_judged(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plausible, "dry_run", lambda *each, fill, **more: fill())
    assert told(1e-30) is None
    assert told(1e-30, model__cls="torch.relu", model__args=[]) is None
    assert asked == []


def test_a_machine_that_was_disturbed_has_twice_the_margin(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        plausible, "peaks", lambda device: Peaks(PEAK, None, "", "", (), 1e-6, disturbed=True)
    )
    assert told(FLOPS / (19 * PEAK)) is None
    assert told(FLOPS / (21 * PEAK)) is not None


@pytest.mark.parametrize(
    ("precision", "bf16", "times"),
    [
        (PrecisionConfig("fp32"), 16 * PEAK, 1),
        (BF16, None, 1),
        (BF16, 16 * PEAK, 16),
        (BF16, PEAK / 2, 1),
        (FP16, None, 2),
        (FP16, 16 * PEAK, 16),
        (INT8, None, 4),
        (INT8, 16 * PEAK, 32),
    ],
)
def test_each_precision_has_what_instructions_allow(
    precision: PrecisionConfig, bf16: float | None, times: float
) -> None:
    found = Peaks(PEAK, bf16, "", "", (), 1e-6)
    assert plausible.at_best(found, precision) == times * PEAK
    assert plausible.at_best(Peaks(None, bf16, "", "", (), 1e-6), precision) is None
