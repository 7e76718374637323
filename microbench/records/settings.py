"""The settings of cases: which belong to the work, which vary, and how their values are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from microbench.config import AXES, Config, option_at
from microbench.errors import NothingToCompareError, unknown
from microbench.records.cases import CaseResult
from microbench.records.naming import flat, labels, varying
from microbench.schema import Role, Scope, identifies

Settings = Mapping[str, str]
"""A configuration's values as text, by dotted key."""

AXIS_KEYS = {axis: each.key for axis, each in AXES.items() if each.name != axis}
"""The settings of axes that have another name."""


class Configured(Protocol):
    """A case, measured or not."""

    @property
    def config(self) -> Config:
        """Its configuration."""
        ...


def settings_of(case: Configured) -> Settings:
    """Return all settings of a case."""
    return flat(case.config)


def is_work(key: str) -> bool:
    """Return whether a setting belongs to the work, not to how it is measured."""
    return option_at(key).is_work


def is_configuration(name: str) -> bool:
    """Return whether an axis or a setting is part of the configuration: its values are alternatives."""
    return option_at(name).role is Role.CONFIGURATION


def work_of(case: Configured) -> Settings:
    """Return the settings of a case's work."""
    given, config = settings_of(case), case.config
    return {key: value for key, value in given.items() if identifies(option_at(key), config)}


def compared(cases: Sequence[CaseResult]) -> dict[str, list[str]]:
    """Return the axes, and the other settings of what is run, that distinguish cases: each case's values.

    Left out are settings such as a time budget or a preset's name: how cases are measured or shown.
    """
    return {name: each for name, each in varying(cases).items() if name in AXES or is_work(name)}


def case_labels(cases: Sequence[CaseResult]) -> list[str]:
    """Return each case's label, with how it is measured only where one of its run is else the same."""
    short = labels(cases, compared(cases))
    times = Counter(zip((case.run.id for case in cases), short, strict=True))
    if len(times) == len(cases):
        return short
    whole = labels(cases)
    return [
        whole[place] if times[case.run.id, label] > 1 else label
        for place, (case, label) in enumerate(zip(cases, short, strict=True))
    ]


def work_labels(cases: Sequence[CaseResult], but: Collection[str] = ()) -> list[str]:
    """Return what each case's work is called, in any configuration and without some settings."""
    settings = varying(cases).items()
    return labels(
        cases, {name: each for name, each in settings if name not in but and not is_configuration(name)}
    )


def without(settings: Settings, keys: Collection[str]) -> frozenset[tuple[str, str]]:
    """Return all settings except some, as a key for look-up."""
    return frozenset(item for item in settings.items() if item[0] not in keys)


def computed(case: Configured, but: Collection[str] = ()) -> frozenset[tuple[str, str]]:
    """Return what a case computes, in any configuration and without some settings, as a key for look-up."""
    work = work_of(case)
    return without(work, {*but, *filter(is_configuration, work)})


def as_given(value: Any) -> str:
    """Return a value as it is written on the command line."""
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))


def meant(name: str, keys: Iterable[str]) -> set[str]:
    """Return the keys that an axis, a group or a dotted key refers to."""
    key = AXIS_KEYS.get(name, name)
    return {each for each in keys if each == key or each.startswith(f"{key}.")}


def varying_keys(settings: Sequence[Settings]) -> list[str]:
    """Return the settings that differ between cases; those of a whole run do not count."""
    keys = dict.fromkeys(key for each in settings for key in each if option_at(key).scope is not Scope.RUN)
    return [key for key in keys if len({each.get(key) for each in settings}) > 1]


def choices(cases: Sequence[CaseResult]) -> list[str]:
    """Return the names that cases can be compared by: the axes and other settings that vary."""
    keys = varying_keys([settings_of(case) for case in cases])
    found: list[str] = []
    for name in (*sorted(cases[0].axes, key=lambda axis: axis in AXIS_KEYS), *keys):
        covered = {key for each in found for key in meant(each, keys)}
        if not meant(name, keys) <= covered:
            found.append(name)
    return found


def keys_by(cases: Sequence[CaseResult], by: str) -> set[str]:
    """Return the varying settings among those to compare by.

    Raises:
        UserError: there is no such setting, or it does not vary.
    """
    settings = [settings_of(case) for case in cases]
    allowed = choices(cases)
    if not allowed:
        raise NothingToCompareError(
            f"Nothing to compare by {by}: no setting differs between the cases ({len(cases)})."
        )
    if not meant(by, {key for each in settings for key in each}):
        raise unknown("setting to compare by", by, allowed)
    if keys := meant(by, varying_keys(settings)):
        return keys
    raise NothingToCompareError(
        f"Nothing to compare by {by}: it is the same in all cases. These vary: {', '.join(allowed)}."
    )


def values_by(cases: Sequence[CaseResult], by: str, keys: Collection[str]) -> list[str]:
    """Return the text of each case's value: the axis' if that distinguishes the values."""
    settings = [settings_of(case) for case in cases]
    if by in cases[0].axes:
        names = [as_given(case.axes[by]) for case in cases]
        values = [without(each, each.keys() - keys) for each in settings]
        if len(set(names)) == len(set(values)):
            return names
    if len(keys) == 1:
        return [as_given(each.get(next(iter(keys)))) for each in settings]
    return [
        ", ".join(f"{key.partition('.')[2]}={as_given(each.get(key))}" for key in sorted(keys))
        for each in settings
    ]
