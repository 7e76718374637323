from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from microbench import distribution
from microbench.distribution import NAME, VERSION, install_line

ROOT = Path(__file__).parents[1]


class Installed(metadata.Distribution):
    """A distribution whose `direct_url.json` is this text; None where it came from an index."""

    def __init__(self, direct_url: str | None) -> None:
        self._direct_url = direct_url

    def read_text(self, filename: str) -> str | None:
        return self._direct_url if filename == "direct_url.json" else None

    def locate_file(self, path: object) -> Path:
        raise NotImplementedError


def test_the_name_is_that_of_the_project_s_file() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"] == NAME


def test_the_citation_has_the_version_of_the_package() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == VERSION


def test_in_a_checkout_an_extra_is_installed_from_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    assert install_line("openvino") == "pip install -e '.[openvino]'"
    monkeypatch.chdir(tmp_path)
    assert install_line("openvino") == f"pip install -e '{ROOT}[openvino]'"


@pytest.mark.parametrize(
    ("direct_url", "line"),
    [
        (None, "pip install 'torch-microbench[int8]'"),
        (
            '{"url": "file:///d/torch_microbench-0.1.0-py3-none-any.whl", "archive_info": {}}',
            "pip install 'torch-microbench[int8] @ file:///d/torch_microbench-0.1.0-py3-none-any.whl'",
        ),
    ],
)
def test_elsewhere_an_extra_is_installed_from_where_the_package_came(
    direct_url: str | None, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(distribution, "CHECKOUT", tmp_path)
    monkeypatch.setattr(metadata, "distribution", lambda name: Installed(direct_url))
    assert install_line("int8") == line


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as a source distribution's wheel installs it."""
    source = tmp_path_factory.mktemp("source")
    site = tmp_path_factory.mktemp("site")
    for folder in ("microbench", "conf"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "setup.py", "README.md", "pytest_microbench.py"):
        shutil.copy(ROOT / file, source)
    build = "from setuptools.build_meta import build_sdist; build_sdist('.')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (archive,) = source.glob("*.tar.gz")
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--no-compile")
    pip = [sys.executable, "-m", "pip", "install", *offline, "--target", site, archive]
    subprocess.run(pip, check=True, capture_output=True)
    return site


def test_what_is_installed_has_its_configuration_files(installed: Path, tmp_path: Path) -> None:
    script = """
from microbench.cli.main import main
from microbench.distribution import CONF

print(CONF)
main(["list", "layers"])
main(["model=dense", "mode=train", "--cfg", "job"])
"""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    folder, *lines = run.stdout.splitlines()
    assert Path(folder) == installed / "microbench" / "conf"
    assert {"conv3x3_1", "dense"} <= set(" ".join(lines).split())
    assert "cls: torch.nn.Linear" in run.stdout


def test_every_file_of_the_package_is_installed(installed: Path) -> None:
    def files(folder: Path) -> set[Path]:
        found = (each for each in folder.rglob("*") if each.is_file() and "__pycache__" not in each.parts)
        return {each.relative_to(folder) for each in found}

    assert files(installed / "microbench" / "conf") == files(ROOT / "conf")
    assert {each for each in files(installed / "microbench") if each.parts[0] != "conf"} == files(
        ROOT / "microbench"
    )


def test_the_pytest_plugin_is_installed_and_found(installed: Path) -> None:
    (found,) = metadata.distributions(name=distribution.NAME, path=[str(installed)])
    (plugin,) = found.entry_points.select(group="pytest11")
    assert (plugin.name, plugin.value) == ("microbench", "pytest_microbench")
    assert (installed / "pytest_microbench.py").read_text() == (ROOT / "pytest_microbench.py").read_text()
