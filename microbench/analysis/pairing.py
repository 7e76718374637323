"""Which cases are compared with each other: those that agree in everything but what differs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from typing import TypeVar

from microbench.config import OPTIONS
from microbench.errors import NothingToCompareError, unknown
from microbench.records.cases import CaseResult
from microbench.records.naming import PART, labels, varying
from microbench.records.settings import (
    Settings,
    as_given,
    is_configuration,
    is_work,
    keys_by,
    meant,
    settings_of,
    values_by,
    without,
    work_of,
)
from microbench.schema import Scope

Key = TypeVar("Key", bound=Hashable)

NOT_OF_A_ROUND = frozenset(key for key, each in OPTIONS.items() if each.scope is not Scope.ROUND)
"""Settings that do not change what a round measures."""

NAMING = ("model", PART, "mode")
"""The axes whose values are a pair's name."""

MOST_NAMES = 4  # in one line
MOST_LOOKED_AT = 10_000  # pairs, for the nearest one


@dataclass(frozen=True)
class Pair:
    """Two cases to compare.

    Attributes:
        a: the baseline.
        b: what is compared with it.
        a_name: what the baseline's side is called.
        b_name: what the other side is called.
        name: what tells this pair from the others.
    """

    a: CaseResult
    b: CaseResult
    a_name: str
    b_name: str
    name: str = ""


@dataclass(frozen=True)
class Difference:
    """A setting in which the two sides differ, with the values on each."""

    setting: str
    a: tuple[str, ...]
    b: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.setting}: {', '.join(self.a)} → {', '.join(self.b)}"


@dataclass(frozen=True)
class Pairing:
    """At least one pair.

    Attributes:
        pairs: the pairs.
        differences: what differs between their sides.
        remarks: which cases have no counterpart.
        missing: the baselines that have none: what each is called, the side that lacks it, and the case.
    """

    pairs: list[Pair]
    differences: list[Difference]
    remarks: list[str]
    missing: list[tuple[str, str, CaseResult]]


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f"; and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return "; ".join(names[:MOST_NAMES]) + more


def _places(keys: Iterable[Key]) -> dict[Key, list[int]]:
    """Where each key stands, in the order of their first places."""
    found: dict[Key, list[int]] = {}
    for index, key in enumerate(keys):
        found.setdefault(key, []).append(index)
    return found


def across(a: Sequence[CaseResult], b: Sequence[CaseResult], by: str | None = None) -> Pairing:
    """Pair the cases of one side with those of another.

    What may differ are settings of how the work is run (`Role.CONFIGURATION`), and what `by` names; of these,
    those differ of which no value occurs on both sides. Cases pair that agree in all others. A single work
    that agrees with several is compared with each; the same work measured several times is paired in order.

    Args:
        a: the baselines.
        b: what is compared with them.
        by: settings of the work that differ as well, separated by commas, such as `batch_size`.

    Raises:
        NothingToCompareError: no two cases pair, or what `by` names has values that occur on both sides.
        UserError: there is no setting that `by` names.
    """
    works = [work_of(case) for case in a], [work_of(case) for case in b]
    apart = _apart(*works)
    names = _named_by(by, works, apart)
    differing = [key for key in apart if is_configuration(key) or any(meant(name, [key]) for name in names)]
    rests = [_places(without(work, differing) for work in side) for side in works]
    matches = sorted(
        match
        for rest in rests[0].keys() & rests[1].keys()
        for match in _matches(rests[0][rest], rests[1][rest], *works)
    )
    if not matches:
        raise _no_pairs(a, b, works, differing, apart)
    pairs = [Pair(a[first], b[second], "A", "B") for first, second in matches]
    there = {without(works[0][first], ()) for first, _ in matches}
    names_of_a = labels(a)
    return Pairing(
        _named(pairs, lambda setting: not is_work(setting)),
        list(_differences(differing, *works)),
        [
            *_left_out("A", "B", a, {first for first, _ in matches}),
            *_left_out("B", "A", b, {second for _, second in matches}),
        ],
        [
            (names_of_a[index], "B", case)
            for index, case in enumerate(a)
            if without(works[0][index], ()) not in there
        ],
    )


def _named_by(
    by: str | None, works: tuple[Sequence[Settings], Sequence[Settings]], apart: Sequence[str]
) -> list[str]:
    """The settings that `by` names.

    Raises:
        NothingToCompareError: one has values that occur on both sides.
        UserError: there is none that is called so.
    """
    names = [name.strip().removeprefix("cfg_") for name in by.split(",")] if by else []
    keys = dict.fromkeys(key for side in works for work in side for key in work)
    for name in names:
        if not meant(name, keys):
            raise unknown("setting to compare by", name, dict.fromkeys((*_groups(apart), *keys)))
        if not meant(name, apart):
            told = (
                f"These differ: {', '.join(_groups(apart))}." if apart else "Nothing differs: leave it out."
            )
            raise NothingToCompareError(f"Nothing to compare by {name}: A and B share values of it. {told}")
    return names


def _groups(keys: Sequence[str]) -> list[str]:
    """The keys, a group's name in place of all its settings where that differs."""
    groups = {key.removesuffix(".name") for key in keys if key.endswith(".name")}
    return list(dict.fromkeys(group if (group := key.partition(".")[0]) in groups else key for key in keys))


def _apart(a: Sequence[Settings], b: Sequence[Settings]) -> list[str]:
    """The settings of which no value occurs on both sides."""
    keys = dict.fromkeys(key for work in (*a, *b) for key in work)
    return [key for key in keys if {work.get(key) for work in a}.isdisjoint(work.get(key) for work in b)]


def _matches(
    first: Sequence[int], second: Sequence[int], a: Sequence[Settings], b: Sequence[Settings]
) -> Iterator[tuple[int, int]]:
    """Which cases pair, of those that agree in what does not differ; none where several fit several."""
    works_a = _places(without(a[index], ()) for index in first).values()
    works_b = _places(without(b[index], ()) for index in second).values()
    if min(len(works_a), len(works_b)) > 1:
        return
    for one, other in product(works_a, works_b):
        newest = zip(reversed(one), reversed(other), strict=False)  # of several runs in a folder, the last
        yield from reversed([(first[i], second[j]) for i, j in newest])


def _differences(keys: Sequence[str], a: Sequence[Settings], b: Sequence[Settings]) -> Iterator[Difference]:
    """What differs; of a group whose name differs, no more than that."""
    groups = {key.removesuffix(".name") for key in keys if key.endswith(".name")}
    for key in keys:
        group, _, name = key.partition(".")
        if group not in groups or name == "name":
            values = [tuple(dict.fromkeys(as_given(work.get(key)) for work in side)) for side in (a, b)]
            yield Difference(group if group in groups else key, values[0], values[1])


def _left_out(side: str, other: str, cases: Sequence[CaseResult], used: Collection[int]) -> list[str]:
    names = labels(cases)
    unused = [names[index] for index in range(len(cases)) if index not in used]
    why = (
        f"{other} has none, or several, that agree in everything but what differs, or a later run has it too"
    )
    return [f"not compared of {side}, for {why}: {listed(unused)}"] if unused else []


def _no_pairs(
    a: Sequence[CaseResult],
    b: Sequence[CaseResult],
    works: tuple[Sequence[Settings], Sequence[Settings]],
    differing: Sequence[str],
    apart: Sequence[str],
) -> NothingToCompareError:
    """The error for sides of which no two cases pair: what is in each, and what keeps the nearest apart."""
    differences = (
        [key for key in {**first, **second} if key not in differing and first.get(key) != second.get(key)]
        for first, second in islice(product(*works), MOST_LOOKED_AT)
    )
    nearest = min(differences, key=len)
    keys = ", ".join(_groups(nearest or differing)[:MOST_NAMES])
    told = f" To compare them anyway: --by {','.join(_groups(nearest))}."
    why = (
        f"the nearest two differ in {keys}" if nearest else f"they differ in {keys}, and several fit several"
    )
    return NothingToCompareError(
        f"Nothing to compare, for no case of A goes with one of B: {why}. "
        f"A: {listed(labels(a))}. B: {listed(labels(b))}."
        f"{told if nearest and {*nearest} <= {*apart} else ''}"
    )


def within(cases: Sequence[CaseResult], by: str, baseline: object = None) -> Pairing:
    """Pair cases that differ in one setting, or one group of settings, and agree in everything else.

    Args:
        cases: at least one case.
        by: an axis such as `engine`, `allocator` or `batch_size`, or a setting's dotted key.
        baseline: the value that every other one is compared with; by default the first.

    Raises:
        NothingToCompareError: the setting is the same in all cases, or no two of them agree in everything
            else.
        UserError: there is no such setting, or no case has that value of it.
    """
    keys = keys_by(cases, by)
    values = values_by(cases, by, keys)
    order = list(dict.fromkeys(values))
    first = order[0] if baseline is None else as_given(baseline)
    if first not in order:
        raise unknown(f"baseline of {by}", first, order)
    following = _following(cases, by, values)
    hidden = {by, *keys, *following, *NOT_OF_A_ROUND}
    settings = [settings_of(case) for case in cases]
    rests = [
        (case.machine.host_id, without(each, hidden)) for case, each in zip(cases, settings, strict=True)
    ]
    matches = list(_matches_within(rests, values, order, first))
    names = labels(cases)
    if not matches:
        raise NothingToCompareError(
            f"Nothing to compare by {by}: no two cases agree in everything else: {listed(names)}."
        )
    pairs = [Pair(cases[i], cases[j], first, values[j]) for i, j in matches]
    sides = [settings[i] for i, _ in matches], [settings[j] for _, j in matches]
    used = {index for match in matches for index in match}
    unused = [name for index, name in enumerate(names) if index not in used]
    return Pairing(
        _named(pairs, lambda setting: setting in hidden),
        [
            Difference(by, (first,), tuple(value for value in order if value != first)),
            *_differences(following, *sides),
        ],
        [f"not compared, for none agrees in everything but {by}: {listed(unused)}"] if unused else [],
        [
            (names[index], value, cases[index])
            for index, value in _without_counterpart(rests, values, order, first)
        ],
    )


def _following(cases: Sequence[CaseResult], by: str, values: Sequence[str]) -> list[str]:
    """The settings that follow from what is compared by, where each value of it has one of theirs."""
    settings = [settings_of(case) for case in cases]
    both = {
        key: {*zip(values, (each[key] for each in settings), strict=True)}
        for key, each in OPTIONS.items()
        if each.follows and each.follows == by
    }
    return [key for key, pairs in both.items() if len(pairs) == len(set(values))]


def _matches_within(
    rests: Sequence[Hashable], values: Sequence[str], order: Sequence[str], first: str
) -> Iterator[tuple[int, int]]:
    """Which cases agree in the rest, one with the first value and one with another."""
    for places in _places(rests).values():
        baselines = [index for index in places if values[index] == first]
        for value in order:
            if value != first:
                yield from zip(baselines, [i for i in places if values[i] == value], strict=False)


def _without_counterpart(
    rests: Sequence[Hashable], values: Sequence[str], order: Sequence[str], first: str
) -> Iterator[tuple[int, str]]:
    """Which cases with the first value have none with another that agrees in the rest, and which value."""
    for places in _places(rests).values():
        there = {values[index] for index in places}
        for index in places:
            if values[index] == first:
                yield from ((index, value) for value in order if value not in there)


def _named(pairs: Sequence[Pair], is_hidden: Callable[[str], bool]) -> list[Pair]:
    """The pairs, named by model, part, mode, and what tells them from each other."""
    cases = [*(pair.a for pair in pairs), *(pair.b for pair in pairs)]
    words = {name: [str(case.axes[name] or "") for case in cases] for name in NAMING}
    what = [" ".join(filter(None, each)) for each in zip(*_both(words, is_hidden).values(), strict=True)]
    telling = {name: each for name, each in _both(varying(cases), is_hidden).items() if name not in NAMING}
    settings = [
        [f"{name}={values[index]}" for name, values in telling.items() if len(set(values)) > 1]
        for index in range(len(pairs))
    ]
    names = [
        ", ".join(filter(None, [*what[index : index + 1], *settings[index]])) for index in range(len(pairs))
    ]
    named = [replace(pair, name=name) for pair, name in zip(pairs, names, strict=True)]
    return [_numbered(pair, named[:index]) for index, pair in enumerate(named)]


def _both(values: Mapping[str, Sequence[str]], is_hidden: Callable[[str], bool]) -> dict[str, list[str]]:
    """Each setting's values, of the pairs' first cases and then their second ones, as one value a pair."""
    return {
        name: [
            a if a == b else f"{a}→{b}"
            for a, b in zip(each[: len(each) // 2], each[len(each) // 2 :], strict=True)
        ]
        for name, each in values.items()
        if not is_hidden(name)
    }


def _numbered(pair: Pair, before: Sequence[Pair]) -> Pair:
    """A pair that is called as others before it, with which place it has among them."""
    alike = sum((each.name, each.b_name) == (pair.name, pair.b_name) for each in before)
    return replace(pair, name=f"{pair.name} ({alike + 1})") if alike else pair
