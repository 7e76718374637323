"""The table of one case, and the line of facts below it."""

from __future__ import annotations

from functools import partial

import factory
import pytest
from factory import told
from msgspec.structs import replace

from microbench.analysis.case import case_report, facts_of
from microbench.records.cases import CaseResult
from microbench.records.clocks import BACKLOG, EVENTS, FIGURES
from microbench.records.record import (
    Check,
    Correctness,
    Energy,
    GpuReadings,
    Role,
    RoundRecord,
    Series,
    StopReason,
)
from microbench.tables.case import case_table, facts_text, gpu_text, show_case
from microbench.verify.judging import Checked

from .support import INFER, TRAIN, MakeCase, Rendered, case_of, over_rounds, rows

ROUNDS = (0.0100, 0.0106, 0.0102, 0.0101, 0.0103, 0.0102)


def table_of(records: list[RoundRecord], rendered: Rendered) -> dict[str, dict[str, str]]:
    return rows(rendered(case_table(case_report(case_of(*records)))))


class TestTable:
    def test_each_phase_has_a_row_with_its_median_interval_and_samples(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        table = table_of(make_case(TRAIN), rendered)
        assert list(table) == ["forward", "loss", "backward", "update", "total"]
        assert table["backward"] == {
            "median": "20.0 ms",
            "95 % CI (one process)": "19.7 – 20.3 ms",
            "±": "1.5 %",
            "images/s": "",
            "samples": "40",
        }

    def test_several_rounds_have_their_interval_and_spread(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        assert table_of(over_rounds(make_case, *ROUNDS), rendered)["inference"] == {
            "median": "10.2 ms",
            "95 % CI": "10.0 – 10.6 ms",  # the interval of six rounds is their range
            "±": "2.9 %",
            "between rounds": "2.0 %",
            "images/s": "784",  # 8 / 0.0102 s
            "samples": "240",
        }

    @pytest.mark.parametrize(("rounds", "level"), [(2, "50 %"), (3, "75 %"), (5, "94 %"), (6, "95 %")])
    def test_the_interval_of_few_rounds_has_the_confidence_that_they_support(
        self, rounds: int, level: str, make_case: MakeCase, rendered: Rendered
    ) -> None:
        table = table_of(over_rounds(make_case, *ROUNDS[:rounds]), rendered)
        assert f"{level} CI" in table["inference"]

    def test_throughput_is_the_batch_over_the_median_of_the_whole(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        table = table_of(make_case(TRAIN), rendered)
        assert table["total"]["images/s"] == "200.0"  # 8 / 0.040 s, ± 0.75 % of it: 1.5
        table = table_of(make_case(INFER, mode="infer", source="layer", batch_size=1), rendered)
        assert table["inference"]["items/s"] == "125"  # 1 / 0.008 s, ± 5 % of it: 6

    @pytest.mark.parametrize(("loss", "shown"), [(0.0004, False), (0.00041, True), (0.000399, False)])
    def test_the_loss_is_shown_if_it_is_more_than_a_hundredth_of_the_total(
        self, loss: float, shown: bool, make_case: MakeCase, rendered: Rendered
    ) -> None:
        assert ("loss" in table_of(make_case(TRAIN | {"loss": (loss, 1e-6)}), rendered)) is shown

    def test_phases_of_preparation_are_not_rows(self, make_case: MakeCase, rendered: Rendered) -> None:
        records = make_case(INFER | {"prepare": (0.5, None), "first_call": (0.25, None)}, mode="infer")
        assert list(table_of(records, rendered)) == ["inference"]

    def test_too_few_samples_are_reported_in_place_of_the_interval(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        table = table_of(make_case({"inference": (0.008, None)}, mode="infer"), rendered)
        assert table["inference"]["95 % CI (one process)"] == "too few samples"
        assert table["inference"]["median"] == "8.00 ms"
        assert table["inference"]["±"] == ""

    def test_a_phase_that_took_no_time_is_shown(self, make_case: MakeCase, rendered: Rendered) -> None:
        """The clock may be too coarse for short phases: a median of zero, with an interval above it."""
        assert "update" in table_of(make_case(TRAIN | {"update": (0.0, 1e-6)}), rendered)


class TestHeading:
    def heading(self, rendered: Rendered, records: list[RoundRecord]) -> str:
        return rendered(using=partial(show_case, case_report(case_of(*records))))[0]

    def test_the_heading_says_what_the_case_is_and_its_input(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        heading = self.heading(rendered, make_case(TRAIN, batch_size=4))
        assert heading == "resnet18 train, batch 4, fp32, eager, cpu, input 4x3x224x224"

    def test_the_number_format_of_an_input_is_named_unless_float32(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        records = make_case(INFER, mode="infer", input_shape=[16], input_dtype="int64")
        assert self.heading(rendered, records).endswith(", input 8x16 int64")

    def test_an_input_that_no_option_describes_is_that_of_the_record(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        (record,) = make_case(INFER, mode="infer", input_shape=[])
        built = replace(record, outcome=replace(record.outcome, inputs="8x128, 8x64"))
        assert self.heading(rendered, [built]).endswith(", cpu, input 8x128, 8x64")

    def test_the_input_of_a_case_that_was_not_built_is_unknown(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        records = make_case({}, mode="infer", input_shape=[], status="error", error="no such function")
        assert self.heading(rendered, records) == "resnet18 infer, batch 8, fp32, eager, cpu"

    def test_a_case_without_times_is_its_heading(self, make_case: MakeCase, rendered: Rendered) -> None:
        records = make_case({}, status="oom", error="out of memory")
        assert len(rendered(using=partial(show_case, case_report(case_of(*records))))) == 1


class TestFacts:
    def test_facts_are_rounds_memory_why_it_stopped_warm_up_and_first_call(self, make_case: MakeCase) -> None:
        assert facts_text(facts_of(case_of(*make_case(TRAIN | {"first_call": (0.25, None)})))) == (
            "1 round · peak memory 1.50 GiB · stopped: interval narrow enough (measure.rel_ci) · "
            "warm-up 5 steps · first call 250 ms"
        )

    def test_facts_have_merged_calls_and_no_unknown_memory(self, make_case: MakeCase) -> None:
        records = make_case(INFER, mode="infer", calls_per_sample=7, peak_memory=None)
        assert facts_text(facts_of(case_of(*records))).startswith("1 round · 7 calls per sample · stopped: ")

    def test_facts_of_several_rounds_have_the_median_memory_and_warm_up(self, make_case: MakeCase) -> None:
        rounds = zip((2, 9, 3), (2**30, 2**31, 2**32), strict=True)
        records = [
            record
            for number, (warmup, memory) in enumerate(rounds)
            for record in make_case(INFER, round=number, rounds=3, warmup=warmup, peak_memory=memory)
        ]
        assert facts_text(facts_of(case_of(*records))).startswith("3 rounds · peak memory 2.00 GiB · ")
        assert facts_text(facts_of(case_of(*records))).endswith(" · warm-up 3 steps")

    def test_what_was_read_of_a_gpu_is_a_line_of_its_own(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        gpu = GpuReadings(
            process=1200 * 2**20, context=500 * 2**20, sm_clock=1.98e9, power=612, temperature=58
        )
        records = told(make_case(INFER), gpu=gpu, energy=Energy(joules=3.21, idle=72))
        assert gpu_text(facts_of(case_of(*records)).gpu) == (
            "GPU: process 1.17 GiB, 500 MiB of it CUDA's context · 1980 MHz · 612 W · 58 °C · energy 3.21 J "
            "per call (idle 72 W)"
        )
        assert any(line.startswith("GPU: ") for line in self.lines(rendered, records))

    def test_what_is_unknown_of_a_gpu_is_left_out(self, make_case: MakeCase) -> None:
        records = told(make_case(INFER), gpu=GpuReadings(power=60), energy=Energy(missing="no counter"))
        assert gpu_text(facts_of(case_of(*records)).gpu) == "GPU: 60 W · energy not measured: no counter"
        assert gpu_text(facts_of(case_of(*told(make_case(INFER), gpu=GpuReadings()))).gpu) == ""
        assert gpu_text(facts_of(case_of(*make_case(INFER))).gpu) == ""

    def lines(self, rendered: Rendered, records: list[RoundRecord]) -> list[str]:
        return rendered(using=partial(show_case, case_report(case_of(*records))))

    def test_rounds_are_counted_by_the_reason_why_they_stopped(self, make_case: MakeCase) -> None:
        reasons = [StopReason.MAX_TIME, StopReason.REL_CI, StopReason.MAX_TIME]
        records = [
            record
            for number, reason in enumerate(reasons)
            for record in make_case(INFER, round=number, rounds=3, stop_reason=reason)
        ]
        assert facts_text(facts_of(case_of(*records))).split(" · ")[2] == (
            "stopped: time limit reached (measure.max_time) in 2, "
            "interval narrow enough (measure.rel_ci) in 1"
        )

    @pytest.mark.parametrize("reason", StopReason)
    def test_every_reason_to_stop_has_words(self, reason: StopReason, make_case: MakeCase) -> None:
        text = facts_text(facts_of(case_of(*make_case(INFER, stop_reason=reason))))
        assert f"(measure.{reason.value})" in text or reason is StopReason.SETUP
        assert "stopped: " in text

    def test_rounds_that_failed_are_not_counted(self, make_case: MakeCase) -> None:
        failed = make_case({}, round=1, rounds=3, status="timeout", error="too long")
        records = [*make_case(INFER, rounds=3), *failed, *make_case(INFER, round=2, rounds=3)]
        assert facts_text(facts_of(case_of(*records))).startswith("2 rounds · ")

    def test_memory_that_no_round_measured_is_unknown(self, make_case: MakeCase) -> None:
        assert case_of(*make_case(INFER, peak_memory=None)).peak_memory is None
        assert case_of(*make_case(INFER, peak_memory=0)).peak_memory == 0


def lines_of(case: CaseResult, rendered: Rendered) -> list[str]:
    return rendered(using=partial(show_case, case_report(case)))


def test_an_interrupted_case_shows_its_samples_and_its_first_call(
    make_case: MakeCase, rendered: Rendered
) -> None:
    times = TRAIN | {"first_call": (0.25, None)}
    lines = lines_of(case_of(*make_case(times, status="interrupted", stop_reason=None)), rendered)
    assert [line.split()[0] for line in lines[2:7]] == list(TRAIN)
    assert lines[7:] == ["1 round · peak memory 1.50 GiB · first call 250 ms"]


def test_a_case_interrupted_while_it_warmed_up_shows_its_first_call(
    make_case: MakeCase, rendered: Rendered
) -> None:
    case = case_of(*make_case({"first_call": (0.25, None)}, status="interrupted", stop_reason=None))
    assert lines_of(case, rendered)[1:] == ["first call 250 ms"]


SAME = Check(Correctness.SAME, 0.5, 0.0031, 1.0, tolerance=0.02)


class TestAnswer:
    def test_an_answer_has_its_error_and_the_allowed_one(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        case = case_of(*make_case(INFER, mode="infer", precision="bf16", check=SAME))
        assert lines_of(case, rendered)[-1] == (
            "answer: same as eager fp32's, output within 3.1e-03 of its largest value (allowed 0.02), "
            "top-1 agrees in 100 %"
        )

    def test_an_answer_of_training_has_the_errors_of_loss_and_gradients(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        check = Check(Correctness.SAME, 0.5, 0.0031, None, 0.047, 0.02, 0.05)
        env = {"arithmetic": "avx512_bf16"}
        case = case_of(*make_case(TRAIN, precision="bf16", check=check, env=env))
        assert lines_of(case, rendered)[-1] == (
            "answer: same as eager fp32's, loss within 3.1e-03 of its value (allowed 0.02), gradients "
            "within 4.7e-02 of their norm (allowed 0.05) · arithmetic avx512_bf16"
        )
        layer = {phase: TRAIN[phase] for phase in ("forward", "backward", "total")}
        case = case_of(*make_case(layer, source="layer", check=check))
        assert "output within 3.1e-03 of its largest value" in lines_of(case, rendered)[-1]

    def test_an_answer_with_the_same_bits_is_equal(self, make_case: MakeCase, rendered: Rendered) -> None:
        check = Check(Correctness.SAME, 0.0, 0.0, tolerance=1e-4)
        case = case_of(*make_case(INFER, mode="infer", check=check, layout="mkldnn", env={"conversions": 1}))
        assert lines_of(case, rendered)[-1] == "answer: equal to eager fp32's · 1 layout conversion per call"

    def test_an_answer_that_was_not_checked_says_so(self, make_case: MakeCase, rendered: Rendered) -> None:
        case = case_of(*make_case(INFER, mode="infer", check=Check(Correctness.OFF)))
        assert lines_of(case, rendered)[-1] == "answer: not checked (verify=false)"

    def test_eager_fp32_itself_has_no_line_on_its_answer(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        plain = lines_of(case_of(*make_case(INFER, mode="infer")), rendered)
        made = make_case(INFER, mode="infer", check=Check(Correctness.REFERENCE), env={"arithmetic": "fp32"})
        assert lines_of(case_of(*made), rendered) == plain

    def test_the_times_of_a_wrong_answer_are_struck_out(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        wrong = Checked(Check(Correctness.MISMATCH, 0.5, 0.3), "the output is off")
        case = case_of(*make_case(INFER | {"first_call": (0.25, None)}, mode="infer", check=wrong))
        (row,) = rows(rendered(case_table(case_report(case)))).values()
        assert row["median"] == "~8.0 ms~"
        assert row["images/s"] == ""
        assert "first call 250 ms" in lines_of(case, rendered)[-1]
        (phase,) = case_table(case_report(case)).columns[1].cells
        assert phase == "[strike]~8.0 ms~[/strike]"


@pytest.mark.parametrize(("prepare", "shown"), [(0.5, True), (0.0278, True), (0.0277, False), (1e-5, False)])
def test_a_preparation_is_shown_if_it_is_a_tenth_of_the_time_to_the_first_answer(
    prepare: float, shown: bool, make_case: MakeCase
) -> None:
    records = make_case(INFER | {"prepare": (prepare, None), "first_call": (0.25, None)}, mode="infer")
    assert ("prepare " in facts_text(facts_of(case_of(*records)))) is shown


def test_a_part_of_a_model_is_named_after_the_model(make_case: MakeCase, rendered: Rendered) -> None:
    records = make_case(INFER, mode="infer", part="layer1.0.conv1")
    title = rendered(using=lambda out: show_case(case_report(case_of(*records)), out))[0]
    assert title.startswith("resnet18 layer1.0.conv1 infer, batch 8")
    assert "model input 8x3x224x224" in title


def test_the_inputs_of_a_part_are_its_own_if_the_model_has_no_shape(
    make_case: MakeCase, rendered: Rendered
) -> None:
    records = told(make_case(INFER, mode="infer", part="embed", input_shape=[]), inputs="8x5")
    title = rendered(using=lambda out: show_case(case_report(case_of(*records)), out))[0]
    assert title.endswith(", input 8x5")


def on_gpu(stream: float, device: float | None, clock: str = EVENTS, **more: Series) -> CaseResult:
    """A case on a GPU: its time on a stream, its device time, and other series."""
    times = {"inference": factory.series_of("inference", [stream] * 6, clock=clock), **more}
    if device is not None:
        times["device"] = factory.series_of("device", [device] * 6, clock=BACKLOG)
    return case_of(factory.record_of(times))


class TestGpu:
    def test_what_the_times_are_comes_first_and_then_that_the_gpu_waits_for_the_host(self) -> None:
        text = facts_text(facts_of(on_gpu(1.0, 0.37)))
        assert text == "stream time · launch-bound: GPU idle 63 % · 1 round"

    @pytest.mark.parametrize(("device", "says"), [(0.89, True), (0.9, False), (1.0, False), (None, False)])
    def test_a_gpu_that_is_busy_or_unknown_is_not_idle(self, device: float | None, says: bool) -> None:
        assert ("launch-bound" in facts_text(facts_of(on_gpu(1.0, device)))) is says

    @pytest.mark.parametrize(("clock", "figure"), FIGURES.items())
    def test_every_clock_of_a_gpu_says_what_it_reads(self, clock: str, figure: str) -> None:
        assert facts_text(facts_of(on_gpu(1.0, None, clock))).split(" · ")[0] == figure

    def test_the_device_time_is_a_row(self, rendered: Rendered) -> None:
        table = rows(rendered(case_table(case_report(on_gpu(1.0, 0.25)))))
        assert (table["inference"]["median"], table["device"]["median"]) == ("1.00 s", "250 ms")

    def test_making_a_context_is_told_beside_the_first_call(self) -> None:
        once = factory.series_of("context", [0.4], clock="perf_counter_ns", role=Role.ONCE)
        assert " · context 400 ms" in facts_text(facts_of(on_gpu(1.0, None, context=once)))

    def test_on_the_cpu_there_is_nothing_to_say(self) -> None:
        text = facts_text(facts_of(case_of(factory.record_of({"inference": 1.0}))))
        assert text == "1 round"


def test_rounds_of_a_coarse_clock_that_agree_are_known_to_a_tick() -> None:
    rounds = [
        factory.record_of(
            {"inference": factory.series_of("inference", [4.0] * 6, resolution=1.0)}, round=number
        )
        for number in range(6)
    ]
    whole = case_of(*rounds).whole
    assert whole is not None
    assert (whole.low, whole.high) == (3.5, 4.5)
