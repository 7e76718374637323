"""The distribution: its name, its version, where its configuration files lie, and how to install an extra."""

from __future__ import annotations

import shlex
from pathlib import Path

NAME = "torch-microbench"
"""The distribution's name: an unrelated one has the name of the module."""

VERSION = "0.1.0"

CHECKOUT = Path(__file__).resolve().parents[1]

_SHIPPED = Path(__file__).with_name("conf")
CONF = _SHIPPED if (_SHIPPED / "config.yaml").exists() else CHECKOUT / "conf"
"""The folder of the YAML files that Hydra composes a configuration from: a wheel ships it in the package."""


def install_line(extra: str) -> str:
    """The command that installs an extra, from where this package came: a checkout, a URL, or an index."""
    if (CHECKOUT / "pyproject.toml").exists():
        where = "." if Path.cwd().resolve() == CHECKOUT else CHECKOUT
        return f"pip install -e {shlex.quote(f'{where}[{extra}]')}"
    url = _url()
    what = f"{NAME}[{extra}] @ {url}" if url else f"{NAME}[{extra}]"
    return f"pip install {shlex.quote(what)}"


def _url() -> str | None:
    """Where the distribution was installed from; None for an index (PEP 610, `direct_url.json`)."""
    import json
    from importlib import metadata  # takes longer than all else that prints a version

    try:
        text = metadata.distribution(NAME).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return None
    return str(json.loads(text)["url"]) if text else None
