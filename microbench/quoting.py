"""Quoting: values in the grammar of Hydra's overrides, and words for a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PLAIN_NAME = re.compile(r"(?!(true|false|null|nan|inf)$)[A-Za-z_][\w.]*", re.ASCII | re.IGNORECASE)
PLAIN_PATH = re.compile(r"(?!(true|false|null|nan|inf)$|\.\d)[A-Za-z_./][\w./:-]*", re.ASCII | re.IGNORECASE)
"""Text that Hydra reads literally as the whole value of an option."""


def command(*words: str) -> str:
    """Return a command with its arguments quoted for a shell."""
    return shlex.join(words)


def python_call(function: str, arguments: Iterable[str], options: Iterable[str]) -> str:
    """Return the call of a Python function with arguments, and with overrides as keyword arguments."""
    given = [each.lstrip("+").partition("=")[::2] for each in options]
    plain = [f"{key}={_python(value)}" for key, value in given if key.isidentifier()]
    dotted = [f"{key!r}: {_python(value)}" for key, value in given if not key.isidentifier()]
    others = [f"**{{{', '.join(dotted)}}}"] if dotted else []
    return f"{function}({', '.join((*arguments, *plain, *others))})"


def _python(value: str) -> str:
    """Return the value of an override as Python spells it."""
    if value.lower() in ("null", "true", "false"):
        return {"null": "None", "true": "True", "false": "False"}[value.lower()]
    is_literal = re.fullmatch(r"-?\d[\d.e+-]*|\[[\d, -]*\]|'.*'", value)
    return value if is_literal else repr(value)


def option(key: str, text: str | Path) -> str:
    """Return the override that sets a key to a literal text, in which no `${…}` is interpolated."""
    value = literal(str(text))
    return f"{key}={value if PLAIN_PATH.fullmatch(value) else as_override(value)}"


def literal(text: str) -> str:
    """Escape a text so that OmegaConf reads it literally even if it contains `${`."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def choice(key: str, values: Iterable[Any]) -> str:
    """Return the override that sweeps over values; for one value, the override that sets it."""
    return f"{key}={','.join(map(as_override, values))}"


def as_override(value: Any) -> str:
    """Return a Python value in the grammar of Hydra's overrides; a text is quoted unless it is a name."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{as_override(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple, range)):
        return "[" + ",".join(map(as_override, value)) + "]"
    text = str(value)
    if not isinstance(value, str) or PLAIN_NAME.fullmatch(text):
        return text
    # Within quotes, backslashes escape only a quote, or those that stand right before one.
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text)
    return f"'{escaped}'"
