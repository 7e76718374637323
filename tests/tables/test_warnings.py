"""The problems below the numbers: failures and warnings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from microbench.analysis.warnings import every_warning, problems
from microbench.records.record import BenchmarkWarning, RoundRecord, WarningCode
from microbench.records.result import Result
from microbench.tables.warnings import show_problems, show_warnings

from .support import DRIFTS, INFER, TRAIN, MakeCase, Rendered, cases


def said(rendered: Rendered, *made: Sequence[RoundRecord]) -> list[str]:
    return rendered(using=partial(show_problems, problems(cases(*made))))


def rounds_of(make_case: MakeCase, *warned: bool, **settings: int) -> list[RoundRecord]:
    """Return the records of a case, one round per flag, which says whether it drifts."""
    return [
        record
        for number, drifts in enumerate(warned)
        for record in make_case(
            INFER,
            mode="infer",
            round=number,
            rounds=len(warned),
            warnings=(DRIFTS,) if drifts else (),
            **settings,
        )
    ]


class TestFailures:
    def test_a_failed_case_is_its_error(self, make_case: MakeCase, rendered: Rendered) -> None:
        failed = make_case({}, status="oom", error="out of [memory]")
        assert said(rendered, failed) == ["oom: out of [memory]"]

    def test_the_failed_one_of_several_cases_is_named(self, make_case: MakeCase, rendered: Rendered) -> None:
        failed = make_case({}, mode="infer", order=1, batch_size=64, status="oom", error="no memory")
        assert said(rendered, make_case(INFER, mode="infer"), failed) == [
            "oom: resnet18 infer, batch_size=64: no memory"
        ]

    def test_rounds_that_failed_in_the_same_way_are_reported_once_with_their_number(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        failed = [
            make_case({}, mode="infer", round=number, rounds=4, status=status, error=error)
            for number, status, error in [
                (1, "timeout", "too long"),
                (2, "oom", "no"),
                (3, "timeout", "too long"),
            ]
        ]
        (case,) = cases(make_case(INFER, mode="infer", rounds=4), *failed)
        assert rendered(using=partial(show_problems, problems([case]))) == [
            "timeout: too long (in 2 of 4 rounds)",
            "oom: no (in 1 of 4 rounds)",
        ]

    def test_a_round_that_was_measured_again_is_not_reported(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        failed = make_case({}, mode="infer", status="timeout", error="too long")
        again = [replace(each, started_at="later") for each in make_case(INFER, mode="infer")]
        assert said(rendered, failed + again) == []

    def test_cases_that_this_machine_cannot_run_are_reported_with_a_remedy(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        skipped = make_case({}, status="skipped", error="allocator=jemalloc needs libjemalloc; install it")
        assert said(rendered, skipped) == ["skipped: allocator=jemalloc needs libjemalloc; install it"]


def bimodal(warning: BenchmarkWarning) -> BenchmarkWarning:
    """Return the warning under a code without a reading."""
    return replace(warning, code=WarningCode.BIMODAL)


class TestWarnings:
    def test_a_warning_has_its_code(self, make_case: MakeCase, rendered: Rendered) -> None:
        case = make_case(INFER, mode="infer", warnings=(DRIFTS,))
        assert said(rendered, case) == ["warning: it drifts; wait [drift]"]

    def test_warnings_of_several_cases_name_theirs(self, make_case: MakeCase, rendered: Rendered) -> None:
        one = make_case(INFER, mode="infer")
        other = make_case(INFER, mode="infer", order=1, batch_size=1, warnings=(DRIFTS,))
        assert said(rendered, one, other) == [
            "warning: resnet18 infer, batch_size=1: it drifts; wait [drift]"
        ]

    def test_the_same_warning_of_several_cases_is_printed_once(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        made = [
            make_case(
                INFER, mode="infer", order=order, batch_size=2**order, warnings=(DRIFTS,) * (order != 1)
            )
            for order in range(3)
        ]
        assert said(rendered, *made) == [
            "warning: resnet18 infer, batch_size=1; resnet18 infer, batch_size=4: it drifts; wait [drift]"
        ]
        assert said(rendered, made[0], made[2]) == ["warning: all cases: it drifts; wait [drift]"]

    def test_many_cases_have_one_line_per_kind_with_the_worst_and_a_pointer_to_all(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        def of(order: int) -> list[RoundRecord]:
            drifts = BenchmarkWarning(WarningCode.DRIFT, f"it drifts by {order} %; wait")
            battery = BenchmarkWarning(WarningCode.ON_BATTERY, "on battery; plug in")
            made = make_case(
                INFER,
                mode="infer",
                order=order,
                batch_size=2**order,
                warnings=(*(() if order % 2 else (drifts,)), *((battery,) if order < 3 else ())),
            )
            (whole,) = made[0].series
            assert whole.summary is not None
            drifting = replace(whole, summary=replace(whole.summary, drift=-order / 100))
            return [replace(made[0], series=(drifting,))]

        made = [of(order) for order in range(30)]
        result = Result([record for case in made for record in case], Path("out put/records.jsonl"))
        assert rendered(using=partial(show_problems, problems(result.cases()), path=result.path)) == [
            f"warning: 15 of 30 cases, worst resnet18 infer, batch_size={2**28}: "
            "it drifts by 28 %; wait [drift]",
            "warning: 3 of 30 cases: on battery; plug in [on_battery]",
            "all warnings: microbench show 'out put' --warnings",
        ]
        told = rendered(using=partial(show_warnings, every_warning(result.cases())))
        assert len(told) == 16
        assert f"warning: resnet18 infer, batch_size={2**4}: it drifts by 4 %; wait [drift]" in told

    def test_the_worst_case_without_a_reading_has_the_warning_in_most_rounds(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        made = [
            rounds_of(make_case, *warned, order=order, batch_size=2**order)
            for order, warned in enumerate([(True, False, False), (True, True, False), (False,) * 3])
        ]
        for each in made:
            each[:] = [
                replace(
                    record,
                    outcome=replace(record.outcome, warnings=tuple(map(bimodal, record.outcome.warnings))),
                )
                for record in each
            ]
        (told,) = said(rendered, *made)
        assert told == (
            "warning: 2 of 3 cases, worst resnet18 infer, batch_size=2: "
            "it drifts; wait (in 2 of 3 rounds) [bimodal]"
        )

    def test_a_warning_of_some_rounds_says_in_how_many(self, make_case: MakeCase, rendered: Rendered) -> None:
        some, every = rounds_of(make_case, True, False, True), rounds_of(make_case, True, True, True)
        assert said(rendered, some) == ["warning: it drifts; wait (in 2 of 3 rounds) [drift]"]
        assert said(rendered, every) == ["warning: it drifts; wait [drift]"]

    def test_every_code_of_a_case_is_printed(self, make_case: MakeCase, rendered: Rendered) -> None:
        cautions = tuple(BenchmarkWarning(code, f"it is {code.value}") for code in WarningCode)
        told = said(rendered, make_case(TRAIN, warnings=cautions))
        assert told == [f"warning: it is {code.value} [{code.value}]" for code in WarningCode]

    def test_nothing_is_printed_for_cases_without_problems(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        assert said(rendered, make_case(INFER), make_case(TRAIN, order=1)) == []
