"""The distribution: its name, version and configuration files, and how to install an extra."""

from __future__ import annotations

import shlex
from pathlib import Path

NAME = "torch-microbench"
"""The distribution's name; an unrelated one has the module's name."""

VERSION = "0.1.0"

CHECKOUT = Path(__file__).resolve().parents[1]

_SHIPPED = Path(__file__).with_name("conf")
CONF = _SHIPPED if (_SHIPPED / "config.yaml").exists() else CHECKOUT / "conf"
"""The folder of the YAML files that Hydra composes configurations from; a wheel has it in the package."""


def install_line(extra: str) -> str:
    """Return the command that installs an extra from this package's origin: a checkout, URL or index."""
    if (CHECKOUT / "pyproject.toml").exists():
        where = "." if Path.cwd().resolve() == CHECKOUT else CHECKOUT
        return f"pip install -e {shlex.quote(f'{where}[{extra}]')}"
    url = _url()
    what = f"{NAME}[{extra}] @ {url}" if url else f"{NAME}[{extra}]"
    return f"pip install {shlex.quote(what)}"


def _url() -> str | None:
    """Return the distribution's origin; None for an index (PEP 610, `direct_url.json`)."""
    import json
    from importlib import metadata  # takes longer than everything else that printing a version needs

    try:
        text = metadata.distribution(NAME).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return None
    return str(json.loads(text)["url"]) if text else None
