"""How long a run will take: from earlier rounds of the same cases on this machine, or from its limits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from statistics import median

from msgspec.structs import replace

from microbench import registry
from microbench.analysis.forecast import Basis, CaseForecast, Forecast
from microbench.records.record import CaseSpec, RoundRecord, RoundsReason
from microbench.records.store import FILE_NAME, file_of, read, rounds_of
from microbench.run.case import Case
from microbench.run.layers import stands_for_layers
from microbench.run.resume import Before, Key, before, changed, key_of, matched
from microbench.schema import UNRESOLVED
from microbench.system import cpus, machine


def forecast(cases: Sequence[Case], folder: Path, completing: bool) -> Forecast:
    """Estimate how long the measurement of at least one case will take; start and write nothing.

    Args:
        cases: the cases.
        folder: the folder for their records; earlier ones are looked for in it and in the folders beside it.
        completing: whether rounds that are in the folder need not be measured again.
    """
    alternatives = [_placed(case) for case in cases]
    history = _history(folder.parent, [{_key(each) for each in among} for among in alternatives])
    placed = [next((each for each in among if _key(each) in history), among[-1]) for among in alternatives]
    done = list[tuple[int, int]]()
    is_search = cases[0].config.experiment.search
    if completing and (earlier := _earlier(folder)) is not None:
        placed = placed if is_search else matched(placed, earlier)
        places = {case.order for case in placed}
        done = [
            (found.spec.order, number)
            for found in earlier.cases
            for number in found.measured_rounds
            if is_search or found.spec.order in places
        ]
    shared = set.intersection(*(set(case.overrides) for case in cases))
    found = [
        _of_case(case, shared, history.get(_key(case), ()), sum(order == case.order for order, _ in done))
        for case in placed
    ]
    return Forecast(found, len(done), cases[0].config.experiment.budget if is_search else None)


def _placed(case: Case) -> list[Case]:
    """Return a case as it may run here: on any device if it says `auto`, which only torch can resolve."""
    name, threads = case.config.device.name, cpus.physical_cores()
    devices = registry.names("devices") if name == UNRESOLVED else []
    return [case.at(device, threads) for device in (*devices, name)]


def _key(case: Case | CaseSpec) -> Key:
    """Return what rounds of the same case share if they took as long, which depends on the budget too."""
    case_id, measuring = key_of(case.id, case.config)
    return case_id, f"{measuring} {case.config.measure.budget}"


def _history(folder: Path, alternatives: Sequence[Collection[Key]]) -> dict[Key, list[RoundRecord]]:
    """Return for each case its rounds in the newest run on this machine that measured it.

    Args:
        folder: the folder of the runs' folders.
        alternatives: for each case, what it may be; the search ends once one of each is found.
    """
    wanted = {key for each in alternatives for key in each}
    found: dict[Key, list[RoundRecord]] = {}
    for path in sorted(folder.glob(f"*/{FILE_NAME}"), key=lambda path: path.stat().st_mtime, reverse=True):
        if all(any(key in found for key in each) for each in alternatives):
            break
        in_file: dict[Key, list[RoundRecord]] = {}
        for record in rounds_of(path, {case_id for case_id, _ in wanted}):
            key = _key(record.case)
            if key in wanted and record.ok and record.machine.host_id == machine.host_id():
                of_run = in_file.get(key, [])
                is_same = bool(of_run) and of_run[-1].run.id == record.run.id
                in_file[key] = [*(of_run if is_same else ()), record]
        found = in_file | found
    return found


def _earlier(folder: Path) -> Before | None:
    """Return the run that a folder has a part of; None if there is none, or other software measured it."""
    there = read(folder) if file_of(folder).exists() else []
    earlier = before(there, machine.host_id())
    if earlier is None:
        return None
    here = machine.described({}, {})
    places = {
        each.config.device.label: replace(
            here, gpu_driver=each.machine.gpu_driver, gpu_uuid=each.machine.gpu_uuid
        )
        for each in earlier.cases
    }
    return None if changed(earlier, places) else earlier


def _as_before(rounds: Sequence[RoundRecord], left: int) -> float:
    """Return the seconds that `left` rounds take if each takes what it did, and starting and checking too."""
    if not left:
        return 0.0
    plan = rounds[0].plan
    once = (0.0 if plan is None else plan.spent) + max(each.checking for each in rounds)
    return once + left * median((each.seconds or 0.0) - each.checking for each in rounds)


def _of_case(
    case: Case, shared: Collection[str], before: Sequence[RoundRecord], measured: int
) -> CaseForecast:
    """Estimate a case's time.

    Args:
        case: the case.
        shared: the options that all cases share.
        before: its rounds in an earlier run, if any.
        measured: how many of its rounds have been measured already.
    """
    measure, is_search = case.config.measure, case.config.experiment.search
    known = [] if is_search else [each for each in before if each.seconds is not None]
    rounds, seconds = case.rounds, None
    if is_search:
        basis = Basis.SEARCH
    elif known:
        plan = before[-1].plan
        if plan is not None and plan.reason is not RoundsReason.GIVEN and measure.rounds is None:
            rounds = len(known) if plan.reason is RoundsReason.DECIDED else plan.rounds
        seconds, basis = _as_before(known, max(0, rounds - measured)), Basis.RECORDS
    elif measure.budget is not None:
        seconds, basis = measure.budget * max(0, rounds - measured) / rounds, Basis.BUDGET
    else:
        of_a_round = measure.max_warmup + measure.max_time
        seconds, basis = of_a_round * max(0, rounds - measured), Basis.LIMITS
    return CaseForecast(
        id=case.id,
        config=case.config,
        settings=[each for each in case.settings if each not in shared],
        command=case.command,
        rounds=None if is_search else rounds,
        measured=measured,
        seconds=seconds,
        basis=basis,
        known=len(known),
        known_from=before[0].started_at if known else None,
        stands_for_layers=stands_for_layers(case),
    )
