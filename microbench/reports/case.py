"""The table of one case: a row a phase."""

from __future__ import annotations

from collections import Counter
from statistics import median

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from microbench.reports import phases, units
from microbench.reports.answers import answer_text, arithmetic
from microbench.reports.fitting import print_fitting
from microbench.reports.labels import count, items, label
from microbench.results.cases import WHOLE, CaseResult, is_of_whole

LEAST_PREPARE = 0.1  # of the time until the first answer: a shorter preparation is not shown

STOP_TEXTS = {
    "rel_ci": "the interval is narrow enough (measure.rel_ci)",
    "max_time": "time was up (measure.max_time)",
    "max_samples": "samples enough (measure.max_samples)",
}


def show_case(case: CaseResult, out: Console) -> None:
    """Print what the case is, its phases, and what else is known of it."""
    first = case.first
    shape = "x".join(filter(None, (str(first["cfg_batch_size"]), first["cfg_input_shape"])))
    dtype, part = first["config"]["model"]["input_dtype"], first.get("cfg_part")
    out.print(
        f"[bold]{escape(label(first))}[/bold], {'input' if part is None else 'model input'} {shape}"
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
    names = ("median", phases.interval_name(shown[-1]), "±", *extra, f"{items(case.first)}/s", "samples")
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
            phases.rate(case, estimate) if is_good and estimate.phase in WHOLE else "",
            str(estimate.samples),
            style="bold" if estimate.phase in WHOLE else None,
        )
    return table


def facts(case: CaseResult) -> str:
    """Rounds, memory, why the sampling stopped, warm-up, preparation and first call, on one line."""
    rounds = [
        next(record for record in attempt if is_of_whole(record))
        for attempt in case.rounds.values()
        if any(is_of_whole(record) and record["median"] is not None for record in attempt)
    ]
    parts = [count(len(rounds), "round")]
    if not rounds:  # a crash tore the lines of the whole step
        return parts[0]
    if memory := case.peak_memory:
        parts.append(f"peak memory {units.memory(memory)}")
    if rounds[0]["calls_per_sample"] > 1:
        parts.append(f"{rounds[0]['calls_per_sample']} calls a sample")
    parts.append(f"stopped: {_stops(Counter(record['stop_reason'] for record in rounds))}")
    parts.append(f"warm-up {count(round(median(len(record['warmup']) for record in rounds)), 'step')}")
    estimates = case.estimates or case.discarded
    prepare, first_call = estimates.get("prepare"), estimates.get("first_call")
    if prepare and first_call and prepare.median >= LEAST_PREPARE * (prepare.median + first_call.median):
        parts.append(f"prepare {units.time(prepare.median)}")
    if first_call:
        parts.append(f"first call {units.time(first_call.median)}")
    return " · ".join(parts)


def answer_facts(case: CaseResult) -> str:
    """On one line whether the answer is eager fp32's, and what computed it; empty for eager fp32 itself."""
    conversions = case.first.get("env_conversions")
    parts = [
        answer_text(case),
        None if conversions is None else f"{count(conversions, 'layout conversion')} a call",
        arithmetic(case) and f"arithmetic {arithmetic(case)}",
    ]
    return " · ".join(filter(None, parts))


def _stops(reasons: Counter[str]) -> str:
    if len(reasons) == 1:
        return STOP_TEXTS[next(iter(reasons))]
    return ", ".join(f"{STOP_TEXTS[reason]} in {number}" for reason, number in reasons.most_common())
