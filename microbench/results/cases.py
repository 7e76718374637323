"""The cases of a run: their records grouped over rounds, and what the rounds say together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

from microbench.config import PROFILE
from microbench.results.record import Record, Status, WarningCode

PHASES = ("forward", "loss", "backward", "update", "total", "inference")
"""The phases of a step, in their order; the others (prepare, first_call) happen once."""

WHOLE = ("total", "inference")
"""Those that span a whole step."""

ANSWER = ("answer", "error_abs", "error_rel", "top1_agreement", "gradient_error")
"""Of the fields that say whether an answer is eager fp32's, those that a summary has."""

RAN_ON = (
    "host_id",
    "env_cpu",
    "env_physical_cores",
    "env_gpu",
    "env_os",
    "env_threads",
    "env_allocator",
    "env_engine",
    "env_arithmetic",
    "env_torch",
    "env_torchvision",
    "env_python",
    "env_microbench",
    "env_git",
)
"""The fields that say what a case ran on, which a summary has."""

WIDE = 0.1  # half an interval over rounds, as a share of the median, that is worth a word

Attempt = Sequence[Record]
"""The records of one case in one round, written together."""


@dataclass(frozen=True)
class Estimate:
    """What is known of one phase of a case.

    Attributes:
        phase: the phase's name.
        medians: each round's median in seconds per call, by the round's number.
        median: the median of these.
        low: lower end of its interval; None with too few samples for one.
        high: upper end.
        confidence: the level of that interval.
        spread: the standard deviation between rounds, as a share of the median; None for one round.
        samples: how many samples all rounds have.
    """

    phase: str
    medians: Mapping[int, float]
    median: float
    low: float | None
    high: float | None
    confidence: float
    spread: float | None
    samples: int

    @property
    def rounds(self) -> int:
        """How many processes it rests on; the interval of one is within that process."""
        return len(self.medians)

    @property
    def half_width(self) -> float | None:
        """Half the interval's width in seconds."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def relative_half_width(self) -> float | None:
        """Half the interval's width as a share of the median; None without an interval, or a median of 0."""
        return self.half_width / self.median if self.half_width is not None and self.median else None


@dataclass(frozen=True)
class CaseResult:
    """A case of a run.

    Attributes:
        rounds: by the round's number, the records of its best attempt: of a run that was completed later, the
            one that ended well.
    """

    rounds: Mapping[int, Attempt]

    @property
    def first(self) -> Record:
        """A record with what all of the case's records share: of a round that ended well, if one did."""
        return self.shown[0]

    @property
    def shown(self) -> Attempt:
        """The records of the first round that ended well, or of the first."""
        return next((each for each in self.rounds.values() if is_ok(each)), next(iter(self.rounds.values())))

    @property
    def ok(self) -> bool:
        """Whether every round that was tried ended well."""
        return all(is_ok(attempt) for attempt in self.rounds.values())

    @property
    def failures(self) -> dict[int, Record]:
        """By the round's number, a record of each round that did not end well."""
        return {number: attempt[0] for number, attempt in self.rounds.items() if not is_ok(attempt)}

    @property
    def status(self) -> str:
        """How it ended: ok where any round did."""
        return str(self.first["status"])

    @property
    def measured_rounds(self) -> list[int]:
        """The rounds that ended well, with all their records."""
        return [number for number, attempt in self.rounds.items() if is_ok(attempt) and is_whole(attempt)]

    @cached_property
    def estimates(self) -> dict[str, Estimate]:
        """What its rounds say together, by phase; of rounds that failed, nothing is taken."""
        return self._estimates(Status.OK)

    @cached_property
    def discarded(self) -> dict[str, Estimate]:
        """What the rounds say whose answer is not eager fp32's: to be shown as that, not to be relied on."""
        return self._estimates(Status.MISMATCH)

    def _estimates(self, status: Status) -> dict[str, Estimate]:
        found: dict[str, list[Record]] = {}
        for attempt in self.rounds.values():
            for record in attempt:
                if record["status"] == status and record["median"] is not None and is_of_phase(record):
                    found.setdefault(record["phase"], []).append(record)
        return {phase: estimate_of(records) for phase, records in found.items()}

    @property
    def checked(self) -> Record:
        """A record of the round in which its answer was checked, which is one of them; else `first`."""
        records = (attempt[0] for attempt in self.rounds.values())
        return next((record for record in records if record.get("answer") is not None), self.first)

    def rows(self) -> list[Record]:
        """A mapping a phase: what the case is, and what its rounds say."""
        kept = {
            key: value
            for key, value in self.first.items()
            if key in ("run_id", "case_id", "status")
            or key.startswith("cfg_")
            or (key.startswith("layer") and value is not None)
        }
        return [
            {
                **kept,
                "phase": each.phase,
                "median": each.median,
                "ci_low": each.low,
                "ci_high": each.high,
                "confidence": each.confidence,
                "spread": each.spread,
                "rounds": each.rounds,
                "samples": each.samples,
                "throughput": self._throughput(each),
                "peak_memory": self.peak_memory,
                **{key: self.checked.get(key) for key in ANSWER},
                "warnings": list(self.warnings),
                **{key: self.first[key] for key in RAN_ON if key in self.first},
            }
            for each in self.estimates.values()
        ]

    def _throughput(self, estimate: Estimate) -> float | None:
        """Items a second of a whole step: the batch over the median."""
        if estimate.phase not in WHOLE or not estimate.median:
            return None
        return float(self.first["cfg_batch_size"]) / estimate.median

    @property
    def whole(self) -> Estimate | None:
        """The estimate of the phase that spans its step; None where none was measured."""
        phases = wholes_of(self.first)
        return next((self.estimates[phase] for phase in phases if phase in self.estimates), None)

    @property
    def peak_memory(self) -> float | None:
        """The median over rounds of the peak memory in bytes; None where it is not known."""
        peaks = [
            record["peak_memory"]
            for attempt in self.rounds.values()
            for record in attempt
            if is_of_whole(record) and record["peak_memory"] is not None
        ]
        return median(peaks) if peaks else None

    @property
    def is_implausible(self) -> bool:
        """Whether it is faster than the machine can be: it may not have done its work, so it wins nothing."""
        return WarningCode.IMPLAUSIBLE in self.warnings

    @property
    def is_unchecked(self) -> bool:
        """Whether nothing of its answer could be compared though it was to be: it may compute nothing."""
        return WarningCode.UNVERIFIED in self.warnings and self.checked.get("error_rel") is None

    @property
    def can_win(self) -> bool:
        """Whether every round that was tried ended well, and nothing says that it may not do its work."""
        return self.ok and not self.is_implausible and not self.is_unchecked

    @property
    def standing(self) -> str:
        """Its status, or that its time is implausible: where it is not `ok`, its time counts for nothing."""
        is_doubted = self.status == Status.OK and self.is_implausible
        return WarningCode.IMPLAUSIBLE.value if is_doubted else self.status

    @property
    def reason(self) -> str | None:
        """Why its standing is not `ok`."""
        error = self.first["error"]
        is_doubted = self.standing == WarningCode.IMPLAUSIBLE
        return self.warnings[WarningCode.IMPLAUSIBLE][0] if is_doubted else error

    @cached_property
    def warnings(self) -> dict[str, list[str]]:
        """By the warning's code, what it says in each round that has it: in all, where it is on all."""
        found: dict[str, list[str]] = {}
        for attempt in self.rounds.values():
            for warning in attempt[0]["warnings"]:
                found.setdefault(warning["code"], []).append(warning["message"])
        if differ := _rounds_differ(self.whole):
            found[WarningCode.WIDE_INTERVAL] = [differ] * len(self.rounds)
        return found


def _rounds_differ(whole: Estimate | None) -> str | None:
    """What to say of a whole step whose interval over several rounds is wide."""
    half_width = None if whole is None or whole.rounds == 1 else whole.relative_half_width
    if whole is None or half_width is None or half_width <= WIDE:
        return None
    return (
        f"fresh processes differ: {whole.phase} is known to ±{half_width * 100:.0f} % from {whole.rounds} "
        "rounds; raise measure.rounds, see `microbench doctor`"
    )


def estimate_of(records: Sequence[Record]) -> Estimate:
    """What a phase's records say together, one of each round."""
    from microbench.stats.rounds import over_rounds

    phase = records[0]["phase"]
    medians = {int(record["round"]): float(record["median"]) for record in records}
    samples = sum(record["n"] for record in records)
    if len(records) == 1:
        only = records[0]
        ends = only["ci_low"], only["ci_high"]
        return Estimate(phase, medians, only["median"], *ends, only["confidence"], None, samples)
    over = over_rounds(list(medians.values()))
    ends = over.low, over.high
    return Estimate(phase, medians, over.median, *ends, over.confidence, over.spread, samples)


def is_of_phase(record: Record) -> bool:
    """Whether a record is of a phase's time, and not of one of the calls within it."""
    return record.get("metric", "time") == "time" and record.get("layer_order") is None


def wholes_of(record: Record) -> Sequence[str]:
    """The phases that span a whole step of a record's case: the forward pass, where it alone is profiled."""
    if record.get("cfg_mode") == PROFILE and record["config"]["mode"].get("training"):
        return ("forward",)
    return WHOLE


def is_of_whole(record: Record) -> bool:
    """Whether a record is of the time of a whole step."""
    return record["phase"] in wholes_of(record) and is_of_phase(record)


def is_ok(attempt: Attempt) -> bool:
    """Whether a round ended well."""
    return str(attempt[0]["status"]) == Status.OK


def is_whole(attempt: Attempt) -> bool:
    """Whether no record of a round was lost to a crash in the middle of writing them."""
    return len(attempt) == max(1, int(attempt[0]["n_series"]))


def cases_of(records: Iterable[Record]) -> list[CaseResult]:
    """The cases that records are of, in the order of their runs and of their places in these."""
    found: dict[tuple[str, int], dict[int, dict[str, list[Record]]]] = {}
    for record in records:
        rounds = found.setdefault((record["run_id"], record["order"]), {})
        rounds.setdefault(record["round"], {}).setdefault(record["started_at"], []).append(record)
    runs = list(dict.fromkeys(run_id for run_id, _ in found))
    return [
        CaseResult({number: _best(list(attempts.values())) for number, attempts in sorted(rounds.items())})
        for (run_id, _), rounds in sorted(
            found.items(), key=lambda item: (runs.index(item[0][0]), item[0][1])
        )
    ]


def _best(attempts: Sequence[Attempt]) -> Attempt:
    """The first that ended well with all its records; else the first that ended well; else the last."""
    good = [attempt for attempt in attempts if is_ok(attempt)]
    return next(filter(is_whole, good), good[0] if good else attempts[-1])
