"""The table of one case: a row a phase."""

from __future__ import annotations

from collections import Counter
from statistics import median

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from microbench.records.cases import CaseResult
from microbench.records.record import Role, StopReason
from microbench.tables import phases, units
from microbench.tables.answers import answer_text, arithmetic
from microbench.tables.fitting import print_fitting
from microbench.tables.labels import count, items, label

LEAST_PREPARE = 0.1  # of the time until the first answer: a shorter preparation is not shown

STOP_TEXTS = {
    StopReason.REL_CI: "interval narrow enough (measure.rel_ci)",
    StopReason.MAX_TIME: "time limit reached (measure.max_time)",
    StopReason.MAX_SAMPLES: "sample limit reached (measure.max_samples)",
}


def show_case(case: CaseResult, out: Console) -> None:
    """Print what the case is, its phases, and what else is known of it."""
    model = case.config.model
    shape, dtype, part = (
        "x".join(map(str, (case.config.batch_size, *model.input_shape))),
        model.input_dtype,
        model.part,
    )
    out.print(
        f"[bold]{escape(label(case))}[/bold], {'input' if part is None else 'model input'} {shape}"
        + (f" {dtype}" if dtype != "float32" else "")
    )
    if phases.shown(case.estimates or case.discarded):
        print_fitting(out, case_table(case), less_wanted=("samples",))
        out.print(facts(case), style="dim")
        if text := answer_facts(case):
            out.print(escape(text), style="dim", soft_wrap=True)


def case_table(case: CaseResult) -> Table:
    """A row a phase: median, interval, its half-width as a share, spread between rounds, rate, samples.

    Medians of a case that computes something else than eager fp32 are struck out, and it has no rate.
    """
    estimates, is_good = case.estimates or case.discarded, bool(case.estimates)
    shown = [estimates[phase] for phase in phases.shown(estimates)]
    several = any(estimate.rounds > 1 for estimate in shown)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("phase", no_wrap=True)
    extra = ["between rounds"] if several else []
    names = ("median", phases.interval_name(shown[-1]), "±", *extra, f"{items(case)}/s", "samples")
    for name in names:
        table.add_column(name, justify="right")
    for estimate in shown:
        share, spread = estimate.relative_half_width, estimate.spread
        table.add_row(
            estimate.phase,
            phases.time(estimate) if is_good else phases.struck(phases.time(estimate)),
            units.interval(estimate.low, estimate.high, estimate.median)
            if estimate.low is not None and estimate.high is not None
            else "too few samples",
            units.share(share) if share is not None else "",
            *([units.share(spread) if spread is not None else ""] if several else []),
            phases.rate(case, estimate) if is_good and estimate.role is Role.WHOLE else "",
            str(estimate.samples),
            style="bold" if estimate.role is Role.WHOLE else None,
        )
    return table


def facts(case: CaseResult) -> str:
    """Rounds, memory, why the sampling stopped, warm-up, preparation and first call, on one line."""
    rounds = [
        (record.outcome.stop_reason, series)
        for record in case.rounds.values()
        for series in record.series
        if series.role is Role.WHOLE and series.summary is not None
    ]
    parts = [count(len(rounds), "round")]
    if not rounds:
        return parts[0]
    if memory := case.peak_memory:
        parts.append(f"peak memory {units.memory(memory)}")
    _, first = rounds[0]
    if first.calls_per_sample > 1:
        parts.append(f"{first.calls_per_sample} calls a sample")
    parts.append(f"stopped: {_stops(Counter(reason for reason, _ in rounds if reason is not None))}")
    parts.append(f"warm-up {count(round(median(len(series.warmup) for _, series in rounds)), 'step')}")
    estimates = case.estimates or case.discarded
    prepare, first_call = estimates.get("prepare"), estimates.get("first_call")
    if prepare and first_call and prepare.median >= LEAST_PREPARE * (prepare.median + first_call.median):
        parts.append(f"prepare {units.time(prepare.median)}")
    if first_call:
        parts.append(f"first call {units.time(first_call.median)}")
    return " · ".join(parts)


def answer_facts(case: CaseResult) -> str:
    """On one line whether the answer is eager fp32's, and what computed it; empty for eager fp32 itself."""
    conversions = case.first.outcome.process.conversions
    parts = [
        answer_text(case),
        None if conversions is None else f"{count(conversions, 'layout conversion')} a call",
        arithmetic(case) and f"arithmetic {arithmetic(case)}",
    ]
    return " · ".join(filter(None, parts))


def _stops(reasons: Counter[StopReason]) -> str:
    if len(reasons) == 1:
        return STOP_TEXTS[next(iter(reasons))]
    return ", ".join(f"{STOP_TEXTS[reason]} in {number}" for reason, number in reasons.most_common())
