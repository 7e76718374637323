"""From a command line, or from keyword arguments, to cases: the seam to Hydra."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass, is_dataclass
from itertools import product
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from microbench import catalog
from microbench.config import Config, validate
from microbench.errors import UserError, first_line
from microbench.explain import explain, missing_key, schema_keys, unknown_key
from microbench.schedule.cases import Case

CONFIG_DIR_FLAGS = ("--config-dir", "-cd")
FREE = re.compile(r"(model\.(kwargs|call_kwargs)|optimizer\.kwargs)[.=]")
SCHEMA = frozenset(schema_keys(Config))


@dataclass(frozen=True)
class Plan:
    """What a command line asks for: the cases, and the folder for their records."""

    cases: list[Case]
    folder: Path


def register(run_id: str) -> None:
    """Tell Hydra the schema, the models of the catalog, and the run's id, which names its folder."""
    ConfigStore.instance().store(name="schema", node=Config)
    OmegaConf.register_new_resolver("run_id", lambda: run_id, replace=True)
    catalog.register()


def from_command_line(arguments: Sequence[str], run_id: str) -> Plan | None:
    """The plan that a command line of Hydra's overrides describes; None where Hydra only printed something.

    Raises:
        UserError: the command line, or a file it names, describes no case.
    """
    register(run_id)
    jobs: list[tuple[DictConfig, list[str], str]] = []

    def collect(config: DictConfig) -> None:
        job = HydraConfig.get()
        jobs.append((config, list(job.overrides.task), job.runtime.output_dir))

    app = cast(Callable[[], None], hydra.main("conf", "config", version_base="1.3")(collect))
    flags, options = _split(arguments)
    try:
        with explained(), _as_arguments([*flags, *map(_free, options)]):
            app()
            kept = _config_dir(flags)
            cases = [
                _case(config, (*kept, *overrides), order) for order, (config, overrides, _) in enumerate(jobs)
            ]
    except UserError:
        for _, _, folder in jobs[:1]:
            with suppress(OSError):  # Hydra has made it; it is left only where something else is in it
                Path(folder).rmdir()
        raise
    if not jobs and (globs := [argument for argument in arguments if "glob(" in argument]):
        raise UserError(f"{' '.join(globs)} matches nothing: see `microbench list`.")
    return Plan(cases, Path(jobs[0][2])) if jobs else None


def from_options(options: Mapping[str, Any], sweep: bool) -> list[Case]:
    """The cases that keyword arguments describe; with `sweep`, one for each combination of listed values.

    Raises:
        UserError: the options describe no case.
    """
    register(run_id="")
    flat = dict(_flatten(options))
    axes = [
        [_free(f"{key}={_as_override(each)}") for each in _values(value, sweep)]
        for key, value in flat.items()
    ]
    with explained(), hydra.initialize_config_module("microbench.conf", version_base="1.3"):
        return [
            _case(hydra.compose("config", overrides=list(overrides)), overrides, order)
            for order, overrides in enumerate(product(*axes))
        ]


def _free(argument: str) -> str:
    """Let an option that fills a dictionary name keys that are not there yet: Hydra asks for `++` then."""
    return f"++{argument}" if FREE.match(argument) else argument


def _values(value: Any, sweep: bool) -> Sequence[Any]:
    return value if sweep and isinstance(value, (list, tuple)) else [value]


def _case(config: DictConfig, overrides: tuple[str, ...], order: int) -> Case:
    for key in _keys(config):
        if key not in SCHEMA:
            raise unknown_key(key)
    for key in sorted(OmegaConf.missing_keys(config)):
        raise missing_key(key)
    resolved = cast(Config, OmegaConf.to_object(config))
    if not resolved.model.name and resolved.model.cls:
        resolved.model.name = resolved.model.cls.rpartition(".")[2]
    validate(resolved)
    return Case(resolved, overrides, order)


def _keys(config: DictConfig, prefix: str = "") -> Iterator[str]:
    """Every dotted key of a configuration, but for those of dictionaries."""
    for name in config:
        key = f"{prefix}{name!s}"
        yield key
        node = config._get_node(name)
        if isinstance(node, DictConfig) and is_dataclass(OmegaConf.get_type(node)):
            yield from _keys(node, f"{key}.")


@contextmanager
def explained() -> Iterator[None]:
    """Turn Hydra's and OmegaConf's errors into a UserError of one line.

    A user who sets HYDRA_FULL_ERROR=1 gets the errors as they are.
    """
    try:
        yield
    except (UserError, BrokenPipeError):
        raise
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        raise explain(error) from error


@contextmanager
def _as_arguments(arguments: Sequence[str]) -> Iterator[None]:
    """Let Hydra read these arguments, and raise what it would print as an error."""
    saved, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["microbench", *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    printed = io.StringIO()
    try:
        with redirect_stderr(printed):
            yield
    except SystemExit as error:
        if error.code not in (None, 0):
            complaint = printed.getvalue().strip().splitlines() or ["the command line is not understood"]
            text = first_line(complaint[-1].partition("error: ")[2] or complaint[-1])
            raise UserError(f"{text[:1].upper()}{text[1:]}. See `microbench --help`.") from error
        raise
    finally:
        sys.argv = saved
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The flags, each with its value, and the overrides: argparse wants them apart, users mix them.

    What follows a flag is its value if it could not be an override: these have an equals sign, or delete.
    """
    flags: list[str] = []
    overrides: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        is_override = "=" in argument or argument.startswith("~")
        is_flag = argument.startswith("-") or (before.startswith("-") and not is_override)
        (flags if is_flag else overrides).append(argument)
    return flags, overrides


def _config_dir(flags: Sequence[str]) -> tuple[str, ...]:
    """The flags that add a folder of configurations: without them the command would not be the same."""
    for index, flag in enumerate(flags):
        if flag in CONFIG_DIR_FLAGS:
            return tuple(flags[index : index + 2])
        if flag.startswith("--config-dir="):
            return (flag,)
    return ()


def _flatten(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in options.items():
        if isinstance(value, Mapping) and value and "." not in prefix:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _as_override(value: Any) -> str:
    """A Python value in the grammar of Hydra's overrides."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_as_override(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_as_override, value)) + "]"
    text = str(value)
    if not isinstance(value, str) or re.fullmatch(r"[\w./:-]+", text):
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
