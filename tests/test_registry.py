from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from packages import importable, install

from microbench import registry
from microbench.devices import cpu
from microbench.distribution import CONF
from microbench.errors import UserError


def complaint(room: str, name: str) -> str:
    with pytest.raises(UserError) as caught:
        registry.find(room, name)
    return str(caught.value)


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
            "Unknown workload 'layers'. Did you mean layer? Allowed: exported, given, layer, own, timm, "
            "torchvision, transformers, ultralytics.",
        ),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest_right_ones(room: str, name: str, line: str) -> None:
    assert complaint(room, name) == line


class TestOtherPackages:
    @pytest.fixture
    def site(self, tmp_path: Path) -> Iterator[Path]:
        with importable(tmp_path):
            yield tmp_path

    def test_a_module_is_found_by_its_entry_point(self, site: Path) -> None:
        (site / "theirs.py").write_text("")
        install(site, "one", {"engines": {"fx": "theirs"}})
        assert registry.find("engines", "fx").__name__ == "theirs"
        assert {"eager", "fx"} <= set(registry.names("engines"))
        assert registry.module_of("engines", "fx") == "theirs"
        assert complaint("engines", "fxx").startswith("Unknown engine 'fxx'. Did you mean fx? Allowed: ")

    def test_a_module_that_cannot_be_imported_is_reported_in_one_line(self, site: Path) -> None:
        (site / "theirs.py").write_text("import tvm_of_nobody\n")
        install(site, "one", {"engines": {"fx": "theirs"}})
        assert complaint("engines", "fx") == (
            "engine 'fx' of one: cannot import theirs (ModuleNotFoundError: No module named 'tvm_of_nobody')."
        )

    def test_two_packages_with_one_name_are_refused(self, site: Path) -> None:
        for package in ("one", "two"):
            install(site, package, {"modes": {"decode": f"{package}.decode"}})
        line = complaint("modes", "decode")
        assert re.match(r"mode 'decode' is in (one and in two|two and in one): uninstall one of them\.", line)

    def test_a_name_of_ours_is_refused(self, site: Path) -> None:
        install(site, "one", {"engines": {"eager": "one.eager"}})
        assert complaint("engines", "eager") == (
            "engine 'eager' is in torch-microbench and in one: uninstall one of them."
        )
        assert registry.find("engines", "compile")

    def test_files_are_found_without_importing_their_package(self, site: Path) -> None:
        file = site / "one" / "conf" / "engine" / "fx.yaml"
        file.parent.mkdir(parents=True)
        file.write_text("name: fx\n")
        (site / "one" / "__init__.py").write_text("raise ImportError")
        install(site, "one", {"conf": {"one": "one.conf"}})
        assert registry.files("engine")["fx"] == file
        assert registry.files("engine")["eager"] == CONF / "engine" / "eager.yaml"

    def test_a_file_of_a_name_of_ours_is_refused(self, site: Path) -> None:
        file = site / "one" / "model" / "dense.yaml"
        file.parent.mkdir(parents=True)
        file.write_text("source: layer\n")
        install(site, "one", {"conf": {"one": "one"}})
        with pytest.raises(UserError) as caught:
            registry.files("model")
        assert str(caught.value) == (
            f"model=dense has two files, {CONF / 'model' / 'dense.yaml'} and {file}: uninstall one, or "
            "rename its file."
        )

    def test_a_folder_that_is_missing_is_reported(self, site: Path) -> None:
        install(site, "one", {"conf": {"one": "nobody.conf"}})
        with pytest.raises(UserError, match=r"^one names nobody\.conf for its YAML files: there is no such"):
            registry.files("model")
