"""From a command line, or from keyword arguments, to cases: the seam to Hydra.

It uses Hydra's grammar, search path and sweeps, but not its job runner: `run/` schedules all cases of a
sweep together, and makes no folder before they are known.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from copy import deepcopy
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from threading import RLock
from types import MappingProxyType
from typing import Any, cast

import hydra
from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from microbench.analysis import columns, published_files
from microbench.config import NAMES_OF_TORCH, OPTIONS, THROUGHPUT, Config, validate
from microbench.distribution import CONF
from microbench.errors import UserError, first_line, nearest
from microbench.options import catalog, hydra_options, own
from microbench.options.messages import GROUPS, explain, missing_key, no_plus, unknown_key
from microbench.options.sweep import BATCH, FREE, NO_PRESET, PRESET, Axes, Preset, axes_of, combined
from microbench.quoting import as_override, choice, literal, option
from microbench.run.case import Case, command_of
from microbench.run.order import check_agreed
from microbench.run.resume import arguments_of, folder_of
from microbench.schema import FOLDER, keys_of

MULTIRUN = {"-m", "--multirun"}
CONFIG_DIR = {"-cd", "--config-dir"}
PRINTING = {"-c", "--cfg", "-i", "--info", "-sc", "--shell-completion", "--hydra-help"}
COMPLETION = {"-sc", "--shell-completion"}
DRY_RUN = "--dry-run"
FLAGS = {*MULTIRUN, *CONFIG_DIR, *PRINTING, DRY_RUN, "--tails", "--csv", "--json", "--help", "--version"}
"""The flags of a run."""
BEGINS_A_PRESET = re.compile(r"\+|hydra(=|\.(mode|sweeper|searchpath)\b)")  # may lead to a sweep without -m
PLACES = ("hydra.run.", "hydra.sweep.")  # the place of files is not part of what is measured
DICTIONARY = re.compile(rf"({'|'.join(GROUPS)})=\s*\{{")  # of a group's options
SEARCH_PATH = re.compile(r"\+*hydra\.searchpath=")
RESUME = "resume="
FOLDERS = {"hydra.run.dir", "hydra.sweep.dir"} | {
    key for key, each in OPTIONS.items() if each.allowed is FOLDER
}
COLUMNS = "columns"
MOST = f"{BATCH}=max"
BETWEEN_LISTS = re.compile(r"(?<=\])\s*,\s*(?=\[)")  # in a sweep
LOCK = RLock()
SCHEMA = keys_of(Config)
SCHEMA_NAME = "microbench_schema"
PRECISION = "precision"
OF_TORCH = re.compile(rf"\b(?:torch\.)?({'|'.join(NAMES_OF_TORCH)})\b")
NO_MODELS: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
ALSO = {each.also: key for key, each in OPTIONS.items() if each.also}


@dataclass(frozen=True)
class Plan:
    """What a command line requests.

    Attributes:
        cases: the cases.
        folder: the folder for their records.
        command_line: the command line.
        command: the microbench command in it, such as `doctor`; empty if it measures cases.
        completing: whether it completes a run of which the folder may hold a part.
    """

    cases: list[Case]
    folder: Path
    command_line: str
    completing: bool
    command: str = ""


def register(run_id: str) -> None:
    """Register with Hydra the schema, the catalog's models, and the run's id, which names its folder."""
    store = ConfigStore.instance()
    if f"{SCHEMA_NAME}.yaml" not in store.repo:  # to convert it again takes 10 ms
        store.store(name=SCHEMA_NAME, node=Config)
    OmegaConf.register_new_resolver("run_id", lambda: run_id, replace=True)
    catalog.register()


def from_command_line(arguments: Sequence[str], run_id: str) -> Plan | None:
    """Return the plan that a command line describes; None if Hydra only printed something.

    Raises:
        UserError: the command line, or a file it names, describes no case.
    """
    register(run_id)
    arguments = [named(with_folder(each)) for each in arguments]
    resumed = resumed_folder(arguments)
    if resumed is not None and not any(map(own.names_one, arguments)):
        arguments = [*arguments_of(resumed), *arguments]
    flags, overrides = split(arguments)
    overrides = [listed(each) for each in overrides]
    if not COMPLETION & flags.keys():  # requested by query=SHELL
        for override in overrides:
            check_key(override)
    folder = next((value or "" for flag, value in flags.items() if flag in CONFIG_DIR), None)
    if PRINTING & flags.keys():
        print_by_hydra(flags, _for_hydra(overrides, folder))
        return None
    if strange := sorted(flags.keys() - MULTIRUN - CONFIG_DIR):
        if strange[0] in FLAGS:
            raise UserError(
                f"{strange[0]} takes no value."
                if flags[strange[0]]
                else f"{strange[0]} is not possible here."
            )
        close = nearest(strange[0], FLAGS)
        meant = f" Did you mean {', '.join(close)}?" if close else ""
        raise UserError(f"Unknown flag {strange[0]}.{meant} See `microbench --help`.")
    with composing():
        tasks, sweep = _tasks(overrides, folder, bool(MULTIRUN & flags.keys()))
        if not sweep and any(re.match(r"\+*hydra\.sweep\.dir=", each) for each in overrides):
            raise UserError(
                "hydra.sweep.dir is the folder of a sweep, and this is none: add -m, or give "
                "hydra.run.dir=DIR."
            )
        composed = _composed(tasks, folder)
        _check_hydra(composed, overrides, folder)
        kept = ("--config-dir", str(Path(folder).resolve())) if folder else ()
        cases = [
            case(config, (*kept, *(each for each in task if not each.startswith(PLACES))), order)
            for order, (config, task) in enumerate(zip(composed, tasks, strict=True))
        ]
        check_agreed(cases)
        where = composed[0].hydra.sweep.dir if sweep else composed[0].hydra.run.dir
        resume = cases[0].config.resume
        began = [each for each in arguments if not each.startswith(RESUME)]
        return Plan(
            cases,
            Path(where) if resume is None else folder_of(resume),
            command_of(began),
            completing=sweep or resume is not None,
        )


def from_options(
    options: Mapping[str, Any], sweep: bool, models: Mapping[str, Mapping[str, Any]] = NO_MODELS
) -> list[Case]:
    """Return the cases that keyword arguments describe; with `sweep`, one per combination of listed values.

    Args:
        options: the options of the command line.
        sweep: whether they list values.
        models: names that `model` may have only here, each with its options.

    Raises:
        UserError: the options describe no case.
    """
    register(run_id="")
    overrides = list(_given(options, sweep))
    with composing(), catalog.also(models):
        tasks, _ = _tasks(overrides, None, sweep)
        if len(tasks) > 1 and not sweep:
            preset = next(each for each in overrides if each.startswith("+" + PRESET))
            raise UserError(f"{preset} has {len(tasks)} cases: call microbench.sweep.")
        configs = zip(_composed(tasks), tasks, strict=True)
        cases = [case(config, task, order) for order, (config, task) in enumerate(configs)]
    check_agreed(cases)
    return cases


def _given(options: Mapping[str, Any], sweep: bool) -> Iterator[str]:
    """Yield the overrides equivalent to keyword arguments."""
    for key, value in _flatten(options):
        name = "+" + PRESET if key == PRESET else ALSO.get(key, key)
        check_key(f"{name}=")
        values = _values(key, value, sweep)
        if key == COLUMNS:
            values = [columns.names_of(each) for each in values]
        if key in FOLDERS:
            values = [literal(str(each)) if isinstance(each, (str, Path)) else each for each in values]
        yield named(choice(name, [str(each) if key == PRECISION else each for each in values]))


def _tasks(
    overrides: Sequence[str], folder: str | None, multirun: bool
) -> tuple[list[tuple[str, ...]], bool]:
    """Return the overrides of each case in a command line, and whether it is a sweep."""
    begun = [each for each in overrides if BEGINS_A_PRESET.match(each)]
    if not multirun and not begun and folder is None:
        return [tuple(overrides)], False
    given = axes_of(overrides)
    preset = preset_of(given, folder) if begun or folder is not None else NO_PRESET
    if not multirun and not preset.sweeps:
        return [tuple(overrides)], False
    return combined(given, preset), True


def preset_of(given: Axes, folder: str | None) -> Preset:
    """Return the preset, and the axes in Hydra's configuration that are swept besides those given.

    Raises:
        UserError: several presets are given, or its axes have a key that no configuration has.
    """
    if len(given.get(PRESET, ())) > 1:
        raise UserError(f"A run has one preset: give one of {', '.join(given[PRESET])}.")
    fixed = [values[0] for values in given.values() if len(values) == 1]
    loader = GlobalHydra.instance().config_loader()
    with _reading(folder):
        config = loader.load_configuration("config", _for_hydra(fixed, folder), RunMode.MULTIRUN)
    given_params = dict(config.hydra.sweeper.get("params") or {})
    params = dict(named(f"{key}={value}").split("=", 1) for key, value in given_params.items())
    ways = [list(map(named, way)) for way in config.experiment.ways]
    for override in (*(f"{key}=" for key in params), *(each for way in ways for each in way)):
        check_key(override)
    is_sweep, searches = config.hydra.mode is RunMode.MULTIRUN, config.experiment.search
    return Preset(params, ways, is_sweep, searches, config.objective == THROUGHPUT)


def check_key(override: str) -> None:
    """Reject an option whose key no configuration has, before any other error in it.

    What Hydra's grammar allows beyond `key=value` is left to Hydra.
    """
    key = override.lstrip("+~").partition("=")[0]
    hydra_options.check_key(key)
    plain = "=" in override and re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", key)
    ours = key.partition(".")[0] != "hydra" and not FREE.match(key)
    if plain and ours and key not in SCHEMA:
        raise unknown_key(key)
    if re.match(rf"(\+\+)?{PRESET}=", override):
        raise no_plus(override.partition("=")[2])


def _check_hydra(composed: Sequence[DictConfig], overrides: Sequence[str], folder: str | None) -> None:
    """Reject options of Hydra that an override or a user's file sets but that would have no effect.

    Raises:
        UserError: there is such an option.
    """
    if folder is None and not any(re.match(r"\+*hydra", each) for each in overrides):
        return
    loader = GlobalHydra.instance().config_loader()
    plain = loader.load_configuration("config", [], RunMode.MULTIRUN)
    for config in composed:
        hydra_options.check(config.hydra, plain.hydra)


@contextmanager
def composing() -> Iterator[None]:
    """Let Hydra find the options, and turn its and OmegaConf's errors into one-line UserErrors.

    A user who sets HYDRA_FULL_ERROR=1 gets the errors as they are.
    """
    try:
        with _own_hydra():
            yield
    except (UserError, BrokenPipeError):
        raise
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        raise explain(error) from None


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Use a Hydra of our own, separate from that of a calling application, one thread at a time."""
    with LOCK:
        instance = GlobalHydra.instance()
        theirs, instance.hydra = instance.hydra, None
        try:
            with hydra.initialize_config_dir(str(CONF), job_name="microbench", version_base="1.3"):
                yield
        finally:
            instance.hydra = theirs


def _composed(tasks: Sequence[Sequence[str]], folder: str | None = None) -> list[DictConfig]:
    """Compose the configuration of each of at least one task.

    Hydra takes about 60 ms for one, so tasks that differ only in single values share its work: it composes
    everything else, and the values are set in a copy, as Hydra itself would.
    """
    tasks = [with_batch(own.with_model(task)) for task in tasks]
    shared: dict[tuple[str, ...], DictConfig] = {}
    found = [_compose(tasks[0], folder)]
    for task in tasks[1:]:
        values = [each for each in task if _is_value(each)]
        rest = tuple(each for each in task if each not in values)
        if any(map(_may_change_values, rest)):
            found.append(_compose(task, folder))
            continue
        if rest not in shared:
            shared[rest] = _compose(rest, folder)
        found.append(_with_values(shared[rest], values, _for_hydra(task, folder)))
    return found


def _is_value(override: str) -> bool:
    """Return whether an override sets a single value of the schema, not an option that has a file."""
    key, is_given, _ = override.partition("=")
    return bool(is_given) and key in SCHEMA - GROUPS and not FREE.match(override)


def _may_change_values(override: str) -> bool:
    """Return whether an override may affect what a single value sets, so that their order matters.

    The choice of a file does not, nor do the contents of dictionaries, nor Hydra's own options.
    """
    key = override.lstrip("+").partition("=")[0]
    is_choice = re.split("[/@]", key)[0] in GROUPS and not DICTIONARY.match(override)
    return not (is_choice or FREE.match(key) or re.match(r"hydra[./]", key)) or override.startswith("~")


def _with_values(shared: DictConfig, values: Sequence[str], task: Sequence[str]) -> DictConfig:
    """Return a copy of a configuration with more values, and Hydra's data on the task's overrides."""
    config = deepcopy(shared)
    parser = OverridesParser.create()
    for override in parser.parse_overrides(list(values)):
        OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
    ours = [each for each in parser.parse_overrides(list(task)) if not each.is_hydra_override()]
    config.hydra.overrides.task = [each.input_line for each in ours]
    how = config.hydra.job.config.override_dirname
    config.hydra.job.override_dirname = get_overrides_dirname(
        ours, how.exclude_keys, how.item_sep, how.kv_sep
    )
    return config


def _compose(task: Sequence[str], folder: str | None = None) -> DictConfig:
    with _reading(folder):
        return hydra.compose("config", overrides=_for_hydra(task, folder), return_hydra_config=True)


@contextmanager
def _reading(folder: str | None) -> Iterator[None]:
    """Report a file that is not UTF-8 text."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise UserError(f"Cannot read {_not_text(folder)}: it is not UTF-8 text.") from error


def _for_hydra(overrides: Sequence[str], folder: str | None) -> list[str]:
    """Return the overrides in Hydra's form, with the folder of a user's own files in its search path.

    Raises:
        UserError: there is no such folder, or it is given together with another search path.
    """
    paths = [each for each in overrides if SEARCH_PATH.match(each)]
    found = with_batch(own.with_model([each for each in overrides if each not in paths])) + paths[-1:]
    found = [f"++{each}" if FREE.match(each) or DICTIONARY.match(each) else each for each in found]
    if folder is not None:
        if paths:
            raise UserError(f"{paths[-1]} and --config-dir are one thing: give one of them.")
        if not folder or not Path(folder).is_dir():
            raise UserError(f"--config-dir {folder}: there is no such folder.")
        found.append(f"hydra.searchpath=[{as_override(f'file://{Path(folder).resolve()}')}]")
    return found


def with_batch(overrides: Sequence[str]) -> list[str]:
    """Return overrides with what `batch_size=max` stands for: the most items that fit, beginning with one."""
    given = [each for each in overrides if each.startswith(f"{BATCH}=")]
    if MOST not in given:
        return list(overrides)
    rest = [each for each in overrides if each != MOST]
    return [*rest, f"{BATCH}=1", "max_batch=true"] if given[-1] == MOST else rest


def _not_text(folder: str | None) -> str:
    """Return which of a user's files is not UTF-8, because the error does not say."""
    for path in sorted(Path(folder or ".").rglob("*.yaml")):
        try:
            path.read_text("utf-8")
        except UnicodeDecodeError:
            return str(path)
    return "a configuration file"


def case(config: DictConfig, overrides: tuple[str, ...], order: int) -> Case:
    """Return the checked case of a composed configuration.

    Raises:
        UserError: a key that the schema does not have, one that is missing, or a value no run could use.
    """
    for key in _keys(config):
        if key not in SCHEMA:
            raise unknown_key(key)
    preset = config.experiment
    preset.name = preset.name or config.hydra.runtime.choices.get(PRESET)
    work = config.copy()
    with open_dict(work):
        work.env_set = {**work.hydra.job.env_set, **work.env_set}
        del work["hydra"]
        own.complete(work.model)
    for key in sorted(OmegaConf.missing_keys(work)):
        raise missing_key(key)
    resolved = cast(Config, OmegaConf.to_object(work))
    validate(resolved)
    if preset.reference is not None:
        published_files.load(preset.reference)
    timed, training = resolved.timing, resolved.mode.training
    columns.check(resolved.columns, columns.available(timed, resolved.memory and timed, training))
    if not resolved.model.name and resolved.model.cls:
        resolved.model.name = resolved.model.cls.rpartition(".")[2]
    return Case(resolved, overrides, order)


def _keys(config: DictConfig, prefix: str = "") -> Iterator[str]:
    """Yield every dotted key of a configuration, except Hydra's own and those of dictionaries."""
    for name in config:
        key = f"{prefix}{name!s}"
        if key != "hydra":
            yield key
            if is_dataclass(OmegaConf.get_type(config, str(name))):
                yield from _keys(config[name], f"{key}.")


def split(arguments: Sequence[str]) -> tuple[dict[str, str | None], list[str]]:
    """Split arguments in any order into flags, each with its value if it has one, and overrides.

    The word after a flag is its value unless it could be an override, which has an equals sign or a `~`.
    """
    flags: dict[str, str | None] = {}
    overrides: list[str] = []
    flag = None
    for argument in arguments:
        if argument.startswith("-"):
            flag, _, value = argument.partition("=")
            flags[flag] = value or None
        elif (
            flag is not None
            and flag not in MULTIRUN
            and "=" not in argument
            and argument[:1] not in ("~", "+")
        ):
            flags[flag] = argument
            flag = None
        else:
            overrides.append(argument)
            flag = None
    return flags, overrides


def with_folder(argument: str) -> str:
    """Return an argument that names a folder, quoted if Hydra would read the name as something else.

    Hydra would read `a,b` as two values, `1e3` as a number, and reject `a=b`; folders are never swept over.
    """
    key, is_given, text = argument.partition("=")
    if not is_given or key.lstrip("+") not in FOLDERS:
        return argument
    try:
        value = OverridesParser.create().parse_override(argument).value()
    except HydraException:
        return option(key, text)
    is_whole = text[:1] in ("'", '"') or text == text.strip()
    return argument if value is None or (isinstance(value, str) and is_whole) else option(key, text)


def named(argument: str) -> str:
    """Return an argument with its option's own name, and precisions by theirs, if given by others."""
    key, is_given, value = argument.partition("=")
    if is_given and key == PRECISION:
        return f"{key}={OF_TORCH.sub(lambda found: NAMES_OF_TORCH[found[1]], value)}"
    return f"{ALSO[key]}={value}" if is_given and key in ALSO else argument


def resumed_folder(arguments: Sequence[str]) -> Path | None:
    """Return the folder of the run to complete; None for a new one.

    Raises:
        UserError: there is no such folder.
    """
    named = next(
        (with_folder(each) for each in reversed(arguments) if each.startswith(RESUME)), f"{RESUME}null"
    )
    value = OverridesParser.create().parse_override(named).value()
    if value is None:
        return None
    return folder_of(re.sub(r"(\\*)\\\$\{", lambda found: found[1][::2] + "${", str(value)))


def listed(override: str) -> str:
    """Return an override of the columns as Hydra reads lists: it needs brackets, and quotes around `~`."""
    key, _, value = override.partition("=")
    if key != COLUMNS:
        return override
    lists = [each.strip("[] ").split(",") for each in BETWEEN_LISTS.split(value)]
    names = [[name.strip(" '\"") for name in each if name.strip()] for each in lists]
    return choice(key, names)


def print_by_hydra(flags: Mapping[str, str | None], overrides: Sequence[str]) -> None:
    """Let Hydra print what flags such as `--cfg job` request; the overrides are in its form.

    Raises:
        UserError: Hydra does not understand the arguments.
    """

    def nothing(config: DictConfig) -> None:
        """Do nothing: Hydra's main function."""

    app = cast(Callable[[], None], hydra.main(str(CONF), "config", version_base="1.3")(nothing))
    with _as_arguments(flags, overrides):
        try:
            app()
        except (SystemExit, BrokenPipeError):
            raise
        except Exception as error:
            raise explain(error) from error


@contextmanager
def _as_arguments(flags: Mapping[str, str | None], overrides: Sequence[str]) -> Iterator[None]:
    """Let Hydra read these arguments, flags first as argparse requires, and raise what it would print."""
    given = {flag: value for flag, value in flags.items() if flag not in CONFIG_DIR}
    spelled = [word for flag, value in given.items() for word in (flag, value) if word is not None]
    saved, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["microbench", *spelled, *overrides]
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


def _flatten(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the options by dotted key; an option that is itself a dictionary stays whole."""
    for name, value in options.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and not FREE.match(key):
            yield from _flatten(value, f"{key}.")
        else:
            yield key, value


def _values(key: str, value: Any, sweep: bool) -> Sequence[Any]:
    if not sweep or not isinstance(value, (list, tuple, range)):
        return [value]
    if not value:
        raise UserError(f"{key}={list(value)} has no value to sweep over.")
    return value
