"""What a run has to show: its cases, each in the kind of report that it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from microbench.analysis.case import CaseReport, case_report
from microbench.analysis.layers import LayersReport, layers_report
from microbench.analysis.sweep import Sweep, sweep
from microbench.analysis.warnings import Problems, problems
from microbench.config import PROFILE
from microbench.records.cases import CaseResult

if TYPE_CHECKING:
    from microbench.analysis.ranking import Ranking


@dataclass(frozen=True)
class Report:
    """What there is to show, in this order.

    Attributes:
        layers: models beside their layers.
        profiles: the cases that were profiled.
        case: the only case that is neither.
        sweep: several such cases.
        problems: of all but the layers, which have their own.
        rankings: which of the sweep's alternatives are fastest.
    """

    layers: LayersReport | None
    profiles: Sequence[CaseResult]
    case: CaseReport | None
    sweep: Sweep | None
    problems: Problems
    rankings: Sequence[Ranking]


def report(cases: Sequence[CaseResult]) -> Report:
    """Find what there is to show of cases that no search and no doctor measured."""
    layers, rest = layers_report(cases)
    profiles = [case for case in rest if case.config.mode.name == PROFILE]
    others = [case for case in rest if case.config.mode.name != PROFILE]
    rankings: Sequence[Ranking] = ()
    if len(others) > 1:
        from microbench.analysis import ranking  # brings scipy, which one case does without

        rankings = ranking.rankings(others)
    return Report(
        layers,
        profiles,
        case_report(others[0]) if len(others) == 1 else None,
        sweep(others) if len(others) > 1 else None,
        problems(rest) if rest else Problems((), ()),
        rankings,
    )
