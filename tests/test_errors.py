from __future__ import annotations

import pytest

from microbench.errors import INTERPRETED, UserError, first_line, nearest, unknown
from microbench.options.torchvision import torchvision_models


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("vgg61", "vgg16"),
        ("resnet81", "resnet18"),
        ("resnet", "resnet18"),
        ("mobilenetv3_small", "mobilenet_v3_small"),
        ("VGG16", "vgg16"),
        ("googlenett", "googlenet"),
        ("densnet121", "densenet121"),
        ("efficentnet_b0", "efficientnet_b0"),
    ],
)
def test_the_name_that_was_meant_comes_first(word: str, meant: str) -> None:
    assert nearest(word, torchvision_models())[0] == meant


def test_the_nearest_are_at_most_three_and_all_known() -> None:
    found = nearest("resnet", torchvision_models())
    assert len(found) == 3
    assert set(found) <= set(torchvision_models())


def test_nothing_is_near_to_something_else_altogether() -> None:
    assert nearest("qqq", ["vgg16", "resnet18"]) == []


def test_nearest_does_not_depend_on_the_order_of_names() -> None:
    names = list(torchvision_models())
    assert nearest("vgg61", names) == nearest("vgg61", reversed(names))


def test_an_unknown_name_is_answered_with_what_is_allowed() -> None:
    error = unknown("mode", "tran", ["train", "infer"])
    assert isinstance(error, UserError)
    assert str(error) == "Unknown mode 'tran'. Did you mean train? Allowed: infer, train."


def test_an_unknown_name_like_no_other_gets_the_list_alone() -> None:
    assert str(unknown("mode", "xyz", ["train", "infer"])) == "Unknown mode 'xyz'. Allowed: infer, train."


def test_a_list_too_long_for_a_line_is_named_by_its_command() -> None:
    names = [f"model{i}" for i in range(13)]
    text = str(unknown("model", "model3x", names, see="`microbench list models`"))
    assert text.startswith("Unknown model 'model3x'. Did you mean model3, ")
    assert text.endswith(" All 13: `microbench list models`")
    assert "model12" not in text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("one", "one"),
        ("\n  \n  first  \nsecond", "first"),
        ("", "no message"),
        (f"{INTERPRETED}\nTraceback of TorchScript\nRuntimeError: \n", INTERPRETED),
        (f"{INTERPRETED}\nTraceback of TorchScript\nRuntimeError: shapes\n", "RuntimeError: shapes"),
        (ValueError("a\nb"), "a"),
        ("Exception from src/core.cpp:117:\nException from src/plugin.cpp:54:\nno primitive", "no primitive"),
        (
            "operator(), /src/vision/nms.cpp:122, \"nms\" not implemented for 'BFloat16'",
            "\"nms\" not implemented for 'BFloat16'",
        ),
        (ValueError(), "no message"),
    ],
)
def test_first_line_is_the_first_with_something_on_it_or_torchscripts_last(text: object, line: str) -> None:
    assert first_line(text) == line
