"""The report of a run: its cases, each in the kind of report that it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from microbench.analysis.case import CaseReport, case_report
from microbench.analysis.layers import LayersReport, layers_report
from microbench.analysis.profile import ProfileReport, profile_reports
from microbench.analysis.sweep import Sweep, sweep
from microbench.analysis.warnings import Problems, problems
from microbench.config import PROFILE
from microbench.records.cases import CaseResult

if TYPE_CHECKING:
    from microbench.analysis.ranking import Ranking


@dataclass(frozen=True)
class Report:
    """What a run shows, in this order.

    Attributes:
        layers: models and their layers.
        profiles: the profiles.
        case: the only other case.
        sweep: several other cases.
        problems: those of all cases except the layers, which have their own.
        rankings: which of the sweep's alternatives are fastest.
    """

    layers: LayersReport | None
    profiles: Sequence[ProfileReport]
    case: CaseReport | None
    sweep: Sweep | None
    problems: Problems
    rankings: Sequence[Ranking]


def report(cases: Sequence[CaseResult]) -> Report:
    """Return the report on cases that neither a search nor the doctor measured."""
    layers, rest = layers_report(cases)
    profiles = [case for case in rest if case.config.mode.name == PROFILE]
    others = [case for case in rest if case.config.mode.name != PROFILE]
    rankings: Sequence[Ranking] = ()
    if len(others) > 1:
        from microbench.analysis import ranking  # imports scipy, which a single case does not need

        rankings = ranking.rankings(others)
    return Report(
        layers,
        profile_reports(profiles),
        case_report(others[0]) if len(others) == 1 else None,
        sweep(others) if len(others) > 1 else None,
        problems(rest),
        rankings,
    )
