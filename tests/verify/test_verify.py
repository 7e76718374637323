"""An answer is compared with eager fp32's: a right one passes, a wrong one does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from microbench import workloads
from microbench.config import PrecisionConfig
from microbench.engines import Program
from microbench.measure import sampler
from microbench.modes import train
from microbench.records.record import Check, Correctness
from microbench.verify.judging import Checked
from microbench.verify.reference import Reference
from microbench.workloads import Workload
from microbench.workloads.objectives import CrossEntropy

from .support import checked, config, program

BF16 = PrecisionConfig("bf16", cast="bfloat16", tolerance=2e-2, gradient_tolerance=5e-2)
OTHER = {"device__mkldnn": False}
"""A configuration that is not plain eager but computes the same."""


def changed(case: Any, change: Callable[[Any], Any]) -> Program:
    """Return the case's program with a changed output."""
    ready = program(case)
    return replace(ready, call=lambda: change(ready.call()))


class TestInference:
    def test_the_right_answer_is_the_same(self) -> None:
        found = checked(config(**OTHER))
        assert found == Checked(Check(Correctness.SAME, error_abs=0.0, error_rel=0.0, tolerance=1e-4))

    def test_a_lower_precision_is_off_by_its_rounding(self) -> None:
        found = checked(config(precision=BF16))
        assert found.check.answer == Correctness.SAME
        assert found.check.error_rel is not None
        assert 1e-4 < found.check.error_rel < 2e-2

    @pytest.mark.parametrize("precision", [PrecisionConfig("fp32"), BF16])
    def test_an_output_that_is_scaled_is_not(self, precision: PrecisionConfig) -> None:
        case = config(**OTHER, precision=precision)
        found = checked(case, changed(case, lambda output: output * 1.05))
        assert found.check.answer == Correctness.MISMATCH
        assert found.check.error_rel == pytest.approx(0.05, abs=0.01)

    def test_an_answer_without_the_bias_is_not_the_same(self) -> None:
        case = config(**OTHER)
        ready = program(case)
        module = ready.workload.module
        found = checked(case, replace(ready, call=lambda: module(*ready.workload.inputs) - module.bias))
        assert found.check.answer == Correctness.MISMATCH
        assert found.check.error_abs == pytest.approx(module.bias.abs().max().item(), rel=1e-5)

    def test_an_answer_that_is_not_a_number_is_not_the_same(self) -> None:
        case = config(**OTHER)
        found = checked(case, changed(case, lambda output: output * float("nan")))
        assert (found.check.answer, found.check.error_rel) == (Correctness.MISMATCH, None)

    def test_an_answer_of_another_shape_is_not_the_same(self) -> None:
        case = config(**OTHER)
        found = checked(case, changed(case, lambda output: output.T))
        assert found.check.answer == Correctness.MISMATCH
        assert found.reason == "outputs of other shapes than eager fp32's: 3x2 instead of 2x3"

    def test_a_shape_that_rounding_decides_is_unclear(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As the number of a detector's boxes, which a threshold decides."""

        def positive(self: nn.Linear, x: Tensor) -> Tensor:
            found = nn.functional.linear(x, self.weight, self.bias)
            return found[found > 0]

        monkeypatch.setattr(nn.Linear, "forward", positive)
        case = config(precision=BF16, batch_size=5000)
        assert checked(case).check.answer in (Correctness.SAME, Correctness.UNCLEAR)
        found = checked(case, changed(case, lambda output: output[:-1]))
        assert (found.check.answer, found.check.error_rel) == (Correctness.UNCLEAR, None)
        assert found.reason is not None
        assert found.reason.startswith("outputs of other shapes than eager fp32's: ")
        assert found.reason.endswith("rounded as in bf16: the check is inconclusive")
        case = config(precision=BF16, batch_size=5000, tolerance=0.1)
        strict = checked(case, changed(case, lambda output: output[:-1]))
        assert strict.check.answer == Correctness.MISMATCH

    @pytest.mark.parametrize("nothing", [None, 1.0, torch.empty(0, 3)])
    def test_a_check_over_nothing_tells_nothing(
        self, nothing: object, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        case = config(**OTHER)
        monkeypatch.setattr(nn.Linear, "forward", lambda self, x: nothing)
        found = checked(case)
        assert (found.check.answer, found.check.error_rel) == (Correctness.UNCLEAR, None)
        assert found.reason is not None
        assert "nothing to compare" in found.reason

    def test_an_empty_answer_differs_if_eagers_is_not_empty(self) -> None:
        case = config(**OTHER)
        found = checked(case, changed(case, lambda output: None))
        assert found.check.answer == Correctness.MISMATCH
        assert found.reason == "outputs of other shapes than eager fp32's: none instead of 2x3"

    def test_where_eager_fp32_is_not_a_number_either_it_is_the_same(self) -> None:
        found = checked(config(**OTHER, model__cls="torch.log", model__args=[]))
        assert (found.check.answer, found.check.error_rel) == (Correctness.SAME, 0.0)

    def test_outputs_are_compared_however_they_are_nested(self, mine: None) -> None:
        case = config(**OTHER, model__cls="of_verify.Nests", model__args=[])
        assert checked(case).check.answer == Correctness.SAME

        def wrong(output: dict[str, Any]) -> dict[str, Any]:
            return output | {"more": (output["more"][0], output["more"][1] * 1.01)}

        assert checked(case, changed(case, wrong)).check.answer == Correctness.MISMATCH

    def test_a_layer_that_overwrites_its_input_gets_it_back(self) -> None:
        case = config(**OTHER, model__cls="torch.sigmoid_", model__args=[])
        ready = program(case)
        for _ in range(3):
            ready.call()
        assert checked(case, ready).check.answer == Correctness.SAME

    def test_random_operations_draw_the_same_numbers(self) -> None:
        case = config(**OTHER, model__cls="torch.nn.functional.dropout", model__args=[0.5])
        assert checked(case).check.answer == Correctness.SAME

    def test_other_random_numbers_make_the_check_inconclusive(self) -> None:
        case = config(**OTHER, model__cls="torch.nn.functional.dropout", model__args=[0.5], batch_size=64)

        def drawn_again(output: Tensor) -> Tensor:
            return nn.functional.dropout(program(case).workload.inputs[0], 0.5)

        found = checked(case, changed(case, drawn_again))
        assert found.check.answer == Correctness.UNCLEAR
        assert found.reason is not None
        assert "random numbers are drawn again" in found.reason


class TestTraining:
    @pytest.mark.parametrize("precision", [PrecisionConfig("fp32"), BF16])
    def test_outputs_and_gradients_are_compared_after_any_number_of_steps(
        self, precision: PrecisionConfig
    ) -> None:
        case = config("train", **OTHER, precision=precision, optimizer__lr=0.5)
        ready = program(case)
        with train.Mode().experiment(ready, case) as trial, sampler.quiet_gc():
            for _ in range(3):
                trial.experiment.step(lambda: 0.0, 1)
        found = checked(case, ready)
        assert (found.check.answer, found.reason) == (Correctness.SAME, None)
        assert found.check.gradient_error is not None
        assert found.check.gradient_tolerance == precision.gradient_tolerance

    def test_gradients_that_miss_a_part_are_caught_though_the_output_is_right(self) -> None:
        case = config("train", **OTHER)
        ready = program(case)
        module, (inputs,) = ready.workload.module, ready.workload.inputs

        def detached() -> Tensor:
            return nn.functional.linear(inputs, module.weight, module.bias.detach())

        found = checked(case, replace(ready, call=detached))
        assert (found.check.answer, found.check.error_rel) == (Correctness.MISMATCH, 0.0)
        assert found.check.gradient_error is not None
        # The bias' gradient is the batch, 2, in each of 3 elements; the weight's the inputs' sum, 3 times.
        of_bias, of_weight = 3 * 2.0**2, 3 * inputs.sum(0).square().sum().item()
        assert found.check.gradient_error == pytest.approx((of_bias / (of_bias + of_weight)) ** 0.5, rel=1e-5)

    @pytest.mark.parametrize(
        ("cls", "arguments"),
        [("torch.nn.Dropout", [0.5]), ("torch.nn.RReLU", []), ("torch.nn.functional.dropout", [0.5])],
    )
    def test_what_drops_at_random_is_the_same(self, cls: str, arguments: list[Any]) -> None:
        case = config("train", **OTHER, model__cls=cls, model__args=arguments, model__input_grad=True)
        assert checked(case).check.answer == Correctness.SAME

    def test_modules_that_drop_at_random_drop_nothing_while_they_are_compared(self) -> None:
        case = config(
            "train", **OTHER, model__cls="torch.nn.Dropout", model__args=[0.5], model__input_grad=True
        )
        ready = program(case)
        case.seed = 1  # other inputs, and other random numbers
        found = checked(case, ready)
        assert (found.check.answer, found.check.error_rel) == (Correctness.SAME, 0.0)

    def test_gradients_that_vanish_by_cancelling_cannot_be_told(self) -> None:
        """The gradient of the sum of a softmax is zero: what is there is rounding."""
        options = {"model__cls": "torch.nn.Softmax", "model__args": [1], "model__input_grad": True}
        found = checked(config("train", precision=BF16, **options, batch_size=8))
        assert found.check.answer == Correctness.UNCLEAR


@pytest.fixture
def classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the workload be a tiny classifier, with a loss, built anew from the same seed each time."""

    def build(*arguments: Any) -> Workload:
        torch.manual_seed(0)
        module, images = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), torch.randn(4, 4)
        return Workload("tiny", module, (images,), CrossEntropy(torch.tensor([0, 1, 2, 0]), 0.0))

    monkeypatch.setattr(workloads, "build", build)


@pytest.mark.usefixtures("classifier")
class TestClassifier:
    def test_a_models_loss_is_compared_in_training(self) -> None:
        case = config("train", **OTHER)
        found = checked(case)
        assert (found.check.answer, found.check.top1_agreement) == (Correctness.SAME, None)
        wrong = checked(case, changed(case, lambda output: output * 1.5))
        assert wrong.reason is not None
        assert wrong.reason.startswith("the loss is off eager fp32's by")

    def test_a_models_first_choices_are_compared_in_inference(self) -> None:
        case = config(**OTHER)
        assert checked(case).check.top1_agreement == 1.0
        assert checked(case, changed(case, torch.neg)).check.top1_agreement == 0.0


def test_plain_eager_is_compared_with_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reference, "timed_answer", None)
    assert checked(config()).check.answer == Correctness.REFERENCE
    assert checked(config("train")).check.answer == Correctness.REFERENCE


def test_what_is_not_to_be_checked_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reference, "timed_answer", None)
    assert checked(config(**OTHER, verify=False)).check.answer == Correctness.OFF


def test_eager_fp32_is_run_once_more_only_where_it_has_to_explain_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nudges = []
    answer = Reference.timed_answer

    def noted(self: Reference, **how: Any) -> Any:
        nudges.append(how.get("nudge", 0.0))
        return answer(self, **how)

    monkeypatch.setattr(Reference, "timed_answer", noted)
    case = config(**OTHER)
    checked(case)
    assert nudges == [0.0]
    checked(case, changed(case, lambda output: output * 1.05))
    assert nudges == [0.0, 0.0, 2**-20]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets `of_verify` be a module with a user's own layer."""
    (tmp_path / "of_verify.py").write_text(NESTS)
    monkeypatch.syspath_prepend(tmp_path)


NESTS = """
from torch import nn


class Nests(nn.Module):
    def forward(self, x):
        return {"first": x + 1, "more": (x * 2, x * 3), "none": None}
"""
