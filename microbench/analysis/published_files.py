"""Read published tables, the package's and the user's.

A table is two files of one name in a folder: a CSV with the figures as published, and a YAML that maps its
names to ours; docs/published.md describes both.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import yaml

from microbench import registry
from microbench.analysis.published_tables import FOLDER, Figure, Table
from microbench.config import OPTIONS
from microbench.errors import UserError, first_line, nearest, unknown

MOST_BYTES = 10_000_000  # of a file; the largest of ours has 60,000

UNITS = {
    "s": (1.0, "s"),
    "ms": (1e-3, "s"),
    "us": (1e-6, "s"),
    "µs": (1e-6, "s"),
    "ns": (1e-9, "s"),
    "images/s": (1.0, "1/s"),
    "items/s": (1.0, "1/s"),
    "tokens/s": (1.0, "1/s"),
    "B": (1.0, "B"),
    "KB": (1024.0, "B"),
    "KiB": (2.0**10, "B"),
    "MiB": (2.0**20, "B"),
    "GiB": (2.0**30, "B"),
    "pJ": (1e-12, "J"),
    "count": (1.0, "1"),
    "FLOP": (1.0, "FLOP"),
    "FLOP/s": (1.0, "FLOP/s"),
}
"""The factor to the SI unit, and that unit, by published unit."""

MEASURED_IN = {"": "s", "memory": "B", "GPU memory": "B"}
"""The SI unit of what is measured of a phase; of anything else it is 1/s."""

BASELINES = ("variant", "quantity", "workload")
"""The fields of figures that a baseline may be a value of."""

PHASES = ("forward", "loss", "backward", "update", "total", "inference", "prepare", "first_call")
"""The phases of our modes; another package's may have others."""


COLUMNS = tuple(each.name for each in fields(Figure))
OPTIONAL = ("source", "software", "variant", "input_shape")
"""The columns of a CSV file, and those that it may lack; without `source` it is the table's name."""


def names() -> list[str]:
    """Return the names of the package's tables."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@cache
def load(name: str) -> Table:
    """Load a table of the package by its name.

    Raises:
        UserError: there is no such table.
    """
    if name not in names():
        raise unknown("experiment.reference", name, names())
    return read(FOLDER / f"{name}.yaml")


def ours() -> list[Table]:
    """Return the package's tables."""
    return [load(name) for name in names()]


def in_folder(folder: Path, models: Collection[str] = ()) -> list[Table]:
    """Return the tables in a folder of the user's.

    Args:
        folder: where they are.
        models: the known names of models, which the workloads must be or be mapped to; empty to accept any.

    Raises:
        UserError: there is no table, a file of one is missing, or one has a mistake: says which and where.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder of published tables (NAME.csv and NAME.yaml).")
    meanings = sorted(folder.glob("*.yaml"))
    alone = sorted(path for path in folder.glob("*.csv") if path.with_suffix(".yaml") not in meanings)
    if alone:
        wanted = alone[0].with_suffix(".yaml").name
        raise UserError(f"{alone[0]} lacks {wanted} beside it, which says what its names mean here.")
    if not meanings:
        raise UserError(f"{folder} has no published tables: one is NAME.csv and NAME.yaml.")
    tables = [read(path) for path in meanings]
    for table in tables:
        _check_models(table, models)
    return tables


def _check_models(table: Table, known: Collection[str]) -> None:
    """Reject a workload that is no model here.

    Raises:
        UserError: it is neither known nor mapped; null in `workloads` says that there is none here.
    """
    for workload in dict.fromkeys(each.workload for each in table.figures):
        model = table.model(workload)
        if known and model is not None and "/" not in model and model not in known:
            error = unknown(f"workload in {table.path}:", model, known, see="microbench list models.")
            file = table.path.with_suffix(".yaml").name
            raise UserError(
                f"{error} Map it in {file}: `workloads: {{{workload}: MODEL}}`, or null for none."
            )


def read(path: Path) -> Table:
    """Read a table, given its YAML file.

    Raises:
        UserError: a file is missing, cannot be read, or has a mistake.
    """
    csv_file = path.with_suffix(".csv")
    meaning = _meaning(path)
    figures = tuple(_figures(csv_file))
    _check_names(path, meaning, figures)
    (baseline,) = meaning.pop("baseline", {}).items() or (None,)
    meaning.setdefault("variants", {figures[0].variant: {}})
    table = Table(path.stem, csv_file, figures, baseline=baseline, **meaning)
    _check_units(table, path)
    return table


def _text(path: Path) -> str:
    """Return the text of a file that a user may have given.

    Raises:
        UserError: it cannot be read, is too large, or is not text.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} is too large for a table: more than {MOST_BYTES} bytes.")
        text = path.read_text("utf-8").removeprefix("\ufeff")
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text.") from error
    if "\0" in text:
        raise UserError(f"{path} is not text: it contains NUL.")
    return text


KINDS: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "baseline": (dict, "one of variant, quantity and workload, with its value: {variant: eager}"),
    "workloads": (dict, "our model, or null, by workload"),
    "variants": (dict, "settings by variant, such as {compiled: {engine: compile}}"),
    "quantities": (dict, "our phase by quantity, such as {latency: inference}"),
    "requires": (dict, "settings by quantity"),
    "notes": (list, "a list of texts"),
}
"""The keys of a YAML file: the type of each, and what it is."""


def _meaning(path: Path) -> dict[str, Any]:
    """Return what a YAML file says, checked by itself.

    Raises:
        UserError: it is not YAML, has an unknown key, or a value of another type.
    """
    try:
        found = yaml.safe_load(_text(path))
    except yaml.YAMLError as error:
        raise UserError(
            f"{path} is not YAML: {first_line(getattr(error, 'problem', None) or error)}."
        ) from error
    if not isinstance(found, dict):
        raise UserError(f"{path} must be a mapping with the keys {', '.join(KINDS)}.")
    for key, value in found.items():
        if key not in KINDS:
            raise unknown(f"key in {path}:", str(key), KINDS)
        kind, what = KINDS[key]
        if not isinstance(value, kind):
            raise UserError(f"{path}: {key} must be {what}.")
    if not found.get("quantities"):
        raise UserError(f"{path} lacks quantities: {KINDS['quantities'][1]}.")
    for group in ("variants", "requires"):
        for name, settings in found.get(group, {}).items():
            _check_settings(f"{path}: {group}: {name}", settings)
    return found


def _check_settings(place: str, settings: Any) -> None:
    """Reject settings that no case can have.

    Raises:
        UserError: an option does not exist, or not with that value.
    """
    if not isinstance(settings, dict):
        raise UserError(f"{place} must be settings such as {{engine: compile}}, or {{}} for plain eager.")
    for key, values in settings.items():
        option = OPTIONS.get(f"{key}.name", OPTIONS.get(key))
        if option is None:
            raise unknown(f"option in {place}:", str(key), (each.name for each in OPTIONS.values()))
        for value in values if isinstance(values, list) else [values]:
            if option.key.endswith(".name") and (known := registry.files(option.name)):
                if value not in known:
                    raise unknown(f"{option.name} in {place}:", str(value), known)
            else:
                option.check(value)


def _figures(path: Path) -> Iterator[Figure]:
    """Yield the figures of a CSV file.

    Raises:
        UserError: a column is missing or unknown, or a row has a mistake: says in which line.
    """
    reader = csv.DictReader(StringIO(_text(path), newline=""), strict=True)
    seen: dict[Figure, int] = {}
    try:
        columns = reader.fieldnames or ()
        if strange := [name for name in columns if name not in COLUMNS]:
            raise unknown(f"column in {path}:", strange[0], COLUMNS)
        if missing := [name for name in COLUMNS if name not in (*columns, *OPTIONAL)]:
            raise UserError(f"{path} lacks the column {missing[0]}. Needed: {', '.join(_needed())}.")
        for row in reader:
            figure = _figure(path, reader.line_num, row)
            key = replace(figure, value=0.0)
            if key in seen:
                raise UserError(f"{path}:{reader.line_num} repeats the figure of line {seen[key]}.")
            seen[key] = reader.line_num
            yield figure
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num} is not CSV: {error}.") from error
    if not seen:
        raise UserError(f"{path} has no figures.")


def _needed() -> list[str]:
    return [name for name in COLUMNS if name not in OPTIONAL]


def _figure(path: Path, line: int, row: Mapping[str, Any]) -> Figure:
    place = f"{path}:{line}"
    if not all(isinstance(each, str) for each in (*row, *row.values())):  # as DictReader pads and collects
        raise UserError(f"{place} has another number of cells than the header.")
    empty = [name for name in _needed() if not row[name].strip()]
    if empty:
        raise UserError(f"{place}: {empty[0]} is empty.")
    if row["unit"] not in UNITS:
        raise unknown(f"unit in {place}:", row["unit"], UNITS, see=f"{', '.join(UNITS)}.")
    factor, unit = UNITS[row["unit"]]
    value = _number(row["value"])
    if value is None:
        raise UserError(f"{place}: value {row['value']!r} is not a number above 0.")
    if not row["batch_size"].isdecimal() or int(row["batch_size"]) < 1:
        raise UserError(f"{place}: batch_size {row['batch_size']!r} is not an integer of at least 1.")
    texts: dict[str, Any] = {"source": path.stem, **dict.fromkeys(OPTIONAL[1:], "")}
    typed = {"batch_size": int(row["batch_size"]), "value": value * factor, "unit": unit}
    return Figure(**(texts | dict(row) | typed))


def _number(text: str) -> float | None:
    """Return the positive, finite number that a text is; None if it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < math.inf else None


def _check_names(path: Path, meaning: Mapping[str, Any], figures: Sequence[Figure]) -> None:
    """Reject names in a YAML file that its CSV file does not have, and variants without a meaning.

    Raises:
        UserError: there is such a name.
    """
    variants, quantities, workloads = (
        list(dict.fromkeys(getattr(each, name) for each in figures))
        for name in ("variant", "quantity", "workload")
    )
    known = dict(zip(BASELINES, (variants, quantities, workloads), strict=True))
    base = meaning.get("baseline", {})
    if "baseline" in meaning and (len(base) != 1 or not base.keys() <= known.keys()):
        raise UserError(f"{path}: baseline must be {KINDS['baseline'][1]}.")
    used: list[tuple[str, Iterable[Any]]] = [
        ("quantity", meaning["quantities"]),
        ("quantity", meaning.get("requires", ())),
        ("variant", meaning.get("variants", ())),
        ("workload", meaning.get("workloads", ())),
        *((part, [name]) for part, name in base.items()),
    ]
    for kind, given in used:
        for name in given:
            if name not in known[kind]:
                raise unknown(f"{kind} in {path}:", str(name), known[kind])
    if without := [name for name in variants if name not in meaning.get("variants", variants[:1])]:
        what = KINDS["variants"][1]
        raise UserError(f"{path}: variants must give the settings of {without[0]!r} too: {what}.")


def _check_units(table: Table, path: Path) -> None:
    """Reject a quantity whose figures have several units, or another than what is measured of its phase.

    Raises:
        UserError: there is one.
    """
    for quantity, phase in table.quantities.items():
        if not isinstance(phase, str) or not phase.strip():
            raise UserError(f"{path}: quantities: {quantity} must be {KINDS['quantities'][1]}.")
        name, _, what = phase.partition(" ")
        if name not in PHASES and nearest(name, PHASES, cutoff=0.75):
            raise unknown(f"phase in {path}:", name, PHASES)
        found = list(dict.fromkeys(each.unit for each in table.figures if each.quantity == quantity))
        if len(found) > 1:
            raise UserError(f"{table.path}: {quantity} mixes units: {', '.join(found)}.")
        if found != [wanted := MEASURED_IN.get(what, "1/s")]:
            raise UserError(f"{path}: {quantity} is in {found[0]}, but {phase!r} here in {wanted}.")
