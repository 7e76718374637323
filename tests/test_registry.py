from __future__ import annotations

import pytest

from microbench import registry
from microbench.devices import cpu
from microbench.errors import UserError


def test_an_options_code_is_the_module_of_its_name() -> None:
    assert registry.find("devices", "cpu") is cpu


@pytest.mark.parametrize(
    ("room", "name", "line"),
    [
        ("modes", "tran", "Unknown mode 'tran'. Did you mean train? Allowed: infer, profile, train."),
        (
            "engines",
            "eagre",
            "Unknown engine 'eagre'. Did you mean eager? Allowed: compile, eager, export, libtorch, "
            "onnxruntime, openvino, tensorrt, torchscript.",
        ),
        (
            "workloads",
            "layers",
            "Unknown workload 'layers'. Did you mean layer? Allowed: layer, torchvision.",
        ),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest_right_ones(room: str, name: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        registry.find(room, name)
    assert str(caught.value) == line
