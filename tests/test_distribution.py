from __future__ import annotations

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
