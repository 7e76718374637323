from __future__ import annotations

from typing import Any

import pytest

from microbench.results.cases import cases_of
from microbench.results.peaks import Work, peak_of, work_of

SAME = [1.0, 1.0]


def test_a_product_of_matrices_is_2_n_cubed_over_the_median(doctored: Any) -> None:
    for name in ("fp32", "bf16"):
        case = cases_of(doctored(SAME, SAME, {name: [0.1, 0.3, 0.2]}))[-1]
        peak = peak_of(case)
        assert peak is not None
        assert peak.work == Work(2 * 64**3, "FLOP")
        assert peak.rate == pytest.approx(2 * 64**3 / 0.2)


def test_a_copy_is_what_is_read_and_what_is_written(doctored: Any) -> None:
    peak = peak_of(cases_of(doctored(SAME, SAME, {"copy": [0.5, 0.5]}))[-1])
    assert peak is not None
    assert peak.work == Work(2 * 1000 * 4, "B")
    assert peak.rate == pytest.approx(2 * 1000 * 4 / 0.5)


def test_a_batch_is_so_much_more_work(doctored: Any) -> None:
    record = doctored(SAME, SAME, {"fp32": SAME})[-1]
    assert work_of(record | {"cfg_batch_size": 3}) == Work(3 * 2 * 64**3, "FLOP")


@pytest.mark.parametrize(
    "model",
    [{"cls": "torch.nn.Linear"}, {"input_shape": [64, 32]}, {"input_shape": [64]}, {"cls": None}],
)
def test_the_work_of_anything_else_is_not_known(model: dict[str, Any], doctored: Any) -> None:
    record = doctored(SAME, SAME, {"fp32": SAME})[-1]
    config = record["config"] | {"model": record["config"]["model"] | model}
    assert work_of(record | {"config": config}) is None
    case = cases_of([record | {"config": config}])[-1]
    assert peak_of(case) is None


def test_a_peak_that_failed_is_none(doctored: Any) -> None:
    assert peak_of(cases_of(doctored(SAME, SAME, {"fp32": [0.0, 0.0]}))[-1]) is None
