"""Does microbench measure right on this GPU? Twelve checks by other measurements, in at most nine minutes.

    python benchmarks/gpu_check.py [--seconds 520] [--out DIR] [STEP …]

Each step stands alone, has its share of the time, and ends with PASS, FAIL or SKIP (why). After each,
`gpu_check.json` (figures and verdicts), `table.md` and `traces.json` (raw times and readings) are written to
the folder, so that a run that is cut keeps what was found. The exit code is the number of FAILs; without a
GPU it says so and exits with 0. Clocks, power limits and MIG are left as they are.

What microbench measures is compared with `gpu_loops.py`, loops by hand that do not use it, and with
`gpu_constants.py`; both run in processes of their own, as this one must hold no memory on the GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any
from xml.etree import ElementTree

import microbench
from microbench.api import Result, new_run_id
from microbench.options.compose import from_options
from microbench.records.record import RoundRecord
from microbench.records.store import Store
from microbench.run.runner import Run
from microbench.tables.progress import Silent

HERE = Path(__file__).parent
MIB, GIB = 2**20, 2**30
GPU = f"--id={os.environ.get('CUDA_VISIBLE_DEVICES', '').partition(',')[0] or 0}"
PASS, FAIL, SKIP = "PASS", "FAIL", "SKIP"
FEW: dict[str, Any] = {
    "device": "cuda",
    "measure.rounds": 1,
    "measure.max_time": 0.3,
    "measure.max_warmup": 0.5,
    "measure.budget": 4.0,
}
"""The options of most cases."""

SIDE = 4096  # of the matrices that are multiplied, as in `gpu_constants.py`
SYNCS = {name: {"device.sync": name} for name in ("events", "step", "phase", "device")}
COLD_AND_GRAPH = {
    "cold": {"measure.cold_cache": True, "device.sync": "device"},
    "graph": {"device.cuda_graph": True},
}
"""The options with which a work is measured in each way."""

WORKS = ("resnet50-infer-1", "resnet50-infer-32", "resnet50-train-32", "vgg16-train-32")
BATCHES = {"eager": [1, 8], "torchscript": [1, 8], "libtorch": [1, 8], "export": [8], "compile": [8]}
"""The batches of each engine: compiling takes long."""

LAYERS = {"relu": "torch.nn.ReLU", "linear": "torch.nn.Linear", "read": "torch.sum"}


class SkipError(Exception):
    """A step cannot be done here; the text says why."""


class LateError(Exception):
    """A step has used up its time."""


@dataclass
class Finding:
    """One comparison.

    Attributes:
        name: what is compared.
        measured: microbench's figure.
        expected: the other one.
        passed: whether they agree; None for a figure that is only recorded.
        rule: when they agree.
    """

    name: str
    measured: Any
    expected: Any = None
    passed: bool | None = None
    rule: str = ""


@dataclass
class Found:
    """What a step found; it is filled while the step runs, so that one that is cut keeps something."""

    findings: list[Finding] = field(default_factory=list)
    traces: dict[str, Any] = field(default_factory=dict)
    until: float = float("inf")  # when its time is over, on the monotonic clock

    def near(self, name: str, measured: float | None, expected: Any, share: float) -> None:
        """Compare two figures that may differ by a share."""
        rule = f"within {100 * share:g} %"
        if measured is None or not isinstance(expected, (int, float)):
            self.findings.append(Finding(name, measured, expected, False, rule))
            return
        self.findings.append(Finding(name, measured, expected, abs(measured / expected - 1) <= share, rule))

    def holds(self, name: str, passed: bool, measured: Any = None, expected: Any = None) -> None:
        """Add something that must be so."""
        self.findings.append(Finding(name, measured, expected, passed))

    def note(self, name: str, measured: Any, expected: Any = None) -> None:
        """Add a figure that is only recorded."""
        self.findings.append(Finding(name, measured, expected))


@dataclass
class Step:
    """A step and how it ended.

    Attributes:
        number: its number.
        name: its name.
        seconds: its share of nine minutes.
        check: does it.
    """

    number: int
    name: str
    seconds: float
    check: Callable[[Found], None]
    status: str = SKIP
    why: str = "not reached"
    took: float = 0.0
    found: Found = field(default_factory=Found)

    def run(self, limit: float) -> None:
        """Do it in at most so many seconds; whatever it raises is its verdict."""
        start = time.monotonic()
        self.found.until = start + limit
        try:
            with limited(limit):
                self.check(self.found)
            failed = [each.name for each in self.found.findings if each.passed is False]
            self.status, self.why = (FAIL, ", ".join(failed)) if failed else (PASS, "")
        except SkipError as reason:
            self.status, self.why = SKIP, str(reason)
        except LateError:
            self.status, self.why = FAIL, f"took longer than {limit:g} s"
        except Exception as error:
            self.status, self.why = FAIL, f"{type(error).__name__}: {error}"
        self.took = time.monotonic() - start


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """End what is done within after so many seconds.

    Raises:
        LateError: they are over.
    """

    def late(number: int, frame: object) -> None:
        raise LateError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# What is run


def script(name: str, *arguments: object) -> list[Any]:
    """Return the JSON lines that one of the other scripts prints."""
    command = [sys.executable, str(HERE / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr.strip().splitlines()[-1:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line[:1] in '{["0123456789']


@cache
def constants_here() -> dict[str, Any]:
    """Return the constants of this GPU, which are measured once."""
    (found,) = script("gpu_constants.py")
    return found


@contextmanager
def beside(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a loop by hand beside what is done within, from the moment at which it says that it has begun."""
    command = [sys.executable, str(HERE / "gpu_loops.py"), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def measured(**options: Any) -> Result:
    """Measure cases on the GPU; a list of values is swept over."""
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        return microbench.sweep(folder=folder, **{**FEW, **options})


def measured_in_turn(wanted: Sequence[Mapping[str, Any]]) -> list[RoundRecord]:
    """Measure cases that share no axes, in one run, so that they are forked from the same servers."""
    cases = [from_options({**FEW, "schedule": "sequential", **each}, sweep=True)[0] for each in wanted]
    placed = [replace(case, order=place) for place, case in enumerate(cases)]
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder, Store(Path(folder)) as store:
        result = Run(placed, store, Silent(), new_run_id()).measure()
    return sorted(result.records, key=lambda each: each.case.order)


def options_of(work: str) -> dict[str, Any]:
    """Return the options of a work of `gpu_loops.py`."""
    name, mode, batch = work.split("-")
    kind, _, size = name.partition("_")
    found: dict[str, Any] = {"model": name, "mode": mode, "batch_size": int(batch)}
    if size:
        found |= {"model": "layer", "model.cls": LAYERS[kind], "model.input_shape": [[int(size)]]}
    return found | ({"model.args": [[int(size), int(size)]]} if kind == "linear" else {})


def seconds_of(record: RoundRecord, phase: str) -> float | None:
    """Return the median of a record's phase; None if it has none."""
    found = [each.summary for each in record.series if each.phase == phase]
    return found[0].median if found and found[0] is not None else None


def smi(*query: str) -> str:
    """Return what nvidia-smi prints."""
    return subprocess.run(["nvidia-smi", *query], capture_output=True, text=True, check=True).stdout


def processes() -> dict[int, int]:
    """Return the bytes of each process on the GPUs, by its id, as nvidia-smi tells them."""
    lines = smi("--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits").splitlines()
    pairs = [line.split(",") for line in lines if "," in line]
    return {int(pid): int(used) * MIB for pid, used in pairs if used.strip().isdigit()}


def used() -> int:
    """Return the bytes in use on the first GPU."""
    text = smi("--query-gpu=memory.used", "--format=csv,noheader,nounits", GPU)
    return int(text.splitlines()[0]) * MIB


# The steps


def check_machine(found: Found) -> None:
    """0: what records say of the machine, against nvidia-smi."""
    told = measured(model="dense", mode="infer").records[0].machine
    gpu = ElementTree.fromstring(smi("-q", "-x", GPU))

    def text(path: str) -> str:
        return (gpu.findtext(path) or "").strip()

    found.traces["machine"] = {name: value for name, value in told_by(told).items() if value is not None}
    found.holds("name", told.gpu == text("gpu/product_name"), told.gpu, text("gpu/product_name"))
    found.holds("driver", told.gpu_driver == text("driver_version"), told.gpu_driver, text("driver_version"))
    total = int(text("gpu/fb_memory_usage/total").split()[0]) * MIB
    found.near("memory", told.gpu_memory, total, 0.03)  # torch leaves out what the driver keeps
    uuid = told_by(told).get("gpu_uuid")
    if uuid is not None:
        found.holds("uuid", str(uuid).endswith(text("gpu/uuid").removeprefix("GPU-")), uuid, text("gpu/uuid"))


def told_by(machine: Any) -> dict[str, Any]:
    """Return the fields of a record's machine, those of other devices included."""
    import msgspec

    fields = msgspec.structs.asdict(machine)
    return {**fields, **fields.pop("extra")}


def check_constants(found: Found) -> None:
    """1: clocks and resolutions."""
    constants = constants_here()
    found.traces["constants"] = constants
    against, spin, tick = constants["against_host"], constants["spin_clock"], constants["tick"]
    found.holds("host's clock against the GPU's", abs(against["ppm"]) < 200, against["ppm"], "under 200 ppm")
    if spin.get("nvml_hz"):
        found.near("clock of a spin against NVML's", spin["spin_hz"], spin["nvml_hz"], 0.02)
    told = told_by(measured(model="dense", mode="infer").records[0].machine).get("event_tick")
    if told is not None:
        found.near("tick of an event", told, tick["ns"] * 1e-9, 0.01)
    for name in ("mark_cost", "empty_pairs", "queue_depth", "bandwidth", "forks"):
        found.note(name, constants[name])


def check_forks(found: Found) -> None:
    """2: a tiny case by each engine in a fork, by eager in a new process, and in the command's own."""
    tiny = {"model": "dense", "mode": "infer", "verify": False}
    for engine in ("eager", "torchscript", "export", "compile"):
        ended(found, f"{engine} forked", measured(engine=engine, **tiny))
    ended(found, "eager spawned", measured(isolation="spawn", **tiny))
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        command = ["model=dense", "mode=infer", "device=cuda", "isolation=inline", "measure.rounds=1"]
        done = subprocess.run(
            [sys.executable, "-m", "microbench", *command, f"hydra.run.dir={folder}"],
            capture_output=True,
            text=True,
            check=False,
        )
    found.holds("eager inline", done.returncode == 0, done.stderr[-300:])


def ended(found: Found, name: str, result: Result) -> None:
    """Add whether all rounds of a result ended well."""
    outcomes = [each.outcome for each in result.records]
    bad = [f"{each.status.value}: {each.error}" for each in outcomes if each.status != "ok"]
    found.holds(name, bool(outcomes) and not bad, bad or "ok")


def check_flags(found: Found) -> None:
    """3: fp32 is full fp32, and TF32 is used where it is asked for."""
    constants = constants_here()
    found.traces["products"] = constants["products"]
    work = {"model": "layer", "model.cls": "torch.nn.Linear", "model.args": [[SIDE, SIDE]]}
    more = {"model.input_shape": [[SIDE]], "batch_size": SIDE, "mode": "infer"}
    fp32, tf32 = measured(precision=["fp32", "tf32"], **work, **more).records
    times = [seconds_of(each, "inference") for each in (fp32, tf32)]
    error = tf32.outcome.check.error_rel
    found.holds("TF32's error against fp32", error is not None and 1e-5 < error < 1e-2, error)
    if times[0] and times[1]:
        found.holds("TF32 is faster", times[0] / times[1] > 3, times[0] / times[1], "above 3")
    for index, name in enumerate(("fp32", "tf32")):
        product = constants["products"][name]["product"]
        limit = (1e-6, 1e-3)[index]
        found.holds(f"{name} by hand", product["error"] < limit, product["error"], limit)
        found.near(f"time of a product in {name}", times[index], product["s"], 0.1)


def check_bias(found: Found) -> None:
    """4: every clock against the loop by hand that measures the same, in rounds that take turns."""
    works = [*script("gpu_loops.py", "sizes")[0], *WORKS]
    start, rounds = time.monotonic(), list[tuple[dict[str, Any], dict[str, Any]]]()
    while len(rounds) < 3 and time.monotonic() + took(start, len(rounds)) < found.until:
        loops = {each["work"]: each for each in script("gpu_loops.py", 0.3, *works)}
        rounds.append((loops, by_clock(works)))
        found.traces["rounds"] = rounds
    for work in works:
        compare_work(found, work, [(loops[work], ours[work]) for loops, ours in rounds])


def took(start: float, rounds: int) -> float:
    """Return the seconds that a round took; a guess before the first."""
    return (time.monotonic() - start) / rounds if rounds else 10.0


def by_clock(works: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return microbench's figures of each work: in each way, the median of each phase, or why it failed."""
    wanted = {}
    for work in works:
        more = COLD_AND_GRAPH if "-infer-" in work else {}
        for name, options in {**SYNCS, **more}.items():
            wanted[work, name] = {**options_of(work), **options, "verify": False}
    found: dict[str, dict[str, dict[str, Any]]] = {work: {} for work in works}
    for (work, name), record in zip(wanted, measured_in_turn(list(wanted.values())), strict=True):
        is_ok = record.outcome.status == "ok"
        found[work][name] = phases_of(record) if is_ok else {"failed": record.outcome.error}
    return found


def phases_of(record: RoundRecord) -> dict[str, float]:
    """Return the median of each phase of a record, or raise what it failed with."""
    if record.outcome.status != "ok":
        raise RuntimeError(f"{record.case.command}: {record.outcome.error}")
    return {each.phase: each.summary.median for each in record.series if each.summary is not None}


def compare_work(
    found: Found, work: str, rounds: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]
) -> None:
    """Compare the medians over rounds of what belongs together."""
    whole = "total" if "-train-" in work else "inference"

    def ours(sync: str, phase: str) -> float | None:
        values = [mine[sync].get(phase) for _, mine in rounds if sync in mine]
        return median(values) if values and None not in values else None

    def theirs(loop: str, phase: str = "") -> Any:
        values = [each[loop] for each, _ in rounds]
        values = [each[phase] if phase and isinstance(each, dict) else each for each in values]
        return median(values) if all(isinstance(each, float) for each in values) else values[0]

    found.near(f"{work}: stream time", ours("events", whole), theirs("stream"), 0.02)
    found.near(f"{work}: latency", ours("step", whole), theirs("latency"), 0.02)
    found.near(f"{work}: device time", ours("device", whole), theirs("kernels"), 0.02)
    for name in ("inference",) if whole == "inference" else ("forward", "loss", "backward", "update"):
        found.near(
            f"{work}: {name}, waiting after each phase", ours("phase", name), theirs("phases", name), 0.02
        )
    if whole == "inference":
        found.near(f"{work}: cold", ours("cold", whole), theirs("cold"), 0.05)
        found.near(f"{work}: in a graph", ours("graph", whole), theirs("graph"), 0.03)


def check_cold(found: Found) -> None:
    """5: a warm read of 16 MB is faster than memory allows, and a cold one is not."""
    rate, size = constants_here()["bandwidth"]["bytes_per_s"], 4 * 4194304
    both = {"measure.cold_cache": [False, True], "device.sync": "device", "verify": False}
    warm, cold = (
        phases_of(each)["inference"]
        for each in measured(**both, **options_of("read_4194304-infer-1")).records
    )
    found.holds("warm, from the cache", size / warm > rate, size / warm, f"above {rate:.3g} B/s")
    found.holds("cold, from memory", size / cold < 1.05 * rate, size / cold, f"at most {rate:.3g} B/s")


def check_memory(found: Found) -> None:
    """6: the memory of a module of 1 GiB, of its process, and of published models."""
    work = {"model": "layer", "model.cls": "torch.nn.Linear", "model.args": [[16384, 16384]]}
    more = {"model.kwargs.bias": False, "model.input_shape": [[16384]], "batch_size": 1, "mode": "infer"}
    before, most = set(processes()), 0
    with watching(
        lambda: max((size for pid, size in processes().items() if pid not in before), default=0)
    ) as seen:
        (record,) = measured(**work, **more, verify=False).records
    most = max(seen, default=0)
    peak = record.outcome.peak_memory
    found.holds("1 GiB by the allocator", abs((peak or 0) - GIB) <= 2 * MIB, peak, GIB)
    told = getattr(record.outcome, "gpu", None)
    if told is not None and most:
        found.near("the process, against nvidia-smi", told.process, most, 0.01)
    check_published(found)


@contextmanager
def watching(look: Callable[[], int]) -> Iterator[list[int]]:
    """Look five times a second, in a thread, while something is done within."""
    from threading import Event, Thread

    seen: list[int] = []
    stop = Event()

    def watch() -> None:
        while not stop.wait(0.2):
            with suppress(subprocess.CalledProcessError):
                seen.append(look())

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def check_published(found: Found) -> None:
    """Compare the memory of three models with a published table, which keeps gradients in eval mode."""
    models = ["alexnet", "resnet50", "squeezenet1_1"]
    result = measured(model=models, mode="infer", batch_size=1, verify=False, **{"mode.grad": True})
    table = result.published("torchvision_pretrained_timing")
    memory = table[(table["quantity"] == "inference memory") & table["published"].notna()]
    for row in memory.drop_duplicates("model").itertuples():
        found.near(f"{row.model}: memory against the published", row.measured, row.published, 0.15)


def check_watcher(found: Found) -> None:
    """7: what the watcher costs, and that it names others on the GPU, and only then."""
    work = {"model": "resnet18", "mode": "infer", "batch_size": 8, "verify": False, "measure.max_time": 3.0}
    (alone,) = measured(**work, **{"measure.min_time": 2.0}).records
    told = getattr(alone.outcome, "gpu", None)
    if told is None:
        raise SkipError("records have no readings of the GPU")
    found.holds("share of a CPU", (told.watching or 0.0) < 0.01, told.watching, "under 0.01")
    found.holds("nobody named", not on_gpu(alone), on_gpu(alone))
    found.traces["alone"] = told
    with beside("burn", 30):
        (busy,) = measured(**work).records
    found.holds("a computing process is named", {"gpu_shared", "gpu_not_idle"} & on_gpu(busy), on_gpu(busy))
    with beside("hold", 2, 30):
        (full,) = measured(**work).records
    found.holds("a process that holds memory is named", "gpu_shared" in on_gpu(full), on_gpu(full))


def on_gpu(record: RoundRecord) -> set[str]:
    """Return the codes of a record's warnings on other processes."""
    codes = {each.code.value for each in record.outcome.warnings}
    return codes & {"gpu_shared", "gpu_not_idle"}


def check_energy(found: Found) -> None:
    """8: the energy of a step by the GPU's counter, against the integral of its power."""
    work = {"model": "resnet50", "mode": "infer", "batch_size": 32, "verify": False}
    (record,) = measured(**work, **{"measure.budget": 30.0}).records
    told = getattr(record.outcome, "energy", None)
    if told is None or told.joules is None:
        raise SkipError(f"no energy was measured: {getattr(told, 'missing', 'records have none')}")
    if told.integral is None:
        raise SkipError("this GPU does not tell its power of the moment")
    found.near("joules of a step against the integral of the power", told.joules, told.integral, 0.05)
    found.note("idle power in W", told.idle)
    found.note("period of the counter in s", told.period)
    found.traces["energy"] = told


def check_memory_limits(found: Found) -> None:
    """9: a batch that is far too big, the next case, and the largest batch that fits."""
    greedy = measured(model="vgg16", mode="infer", batch_size=[10_000_000, 1], verify=False).records
    found.holds("too big", greedy[0].outcome.status == "oom", greedy[0].outcome.status.value, "oom")
    found.holds("the next case", greedy[-1].outcome.status == "ok", greedy[-1].outcome.status.value, "ok")
    (free,) = script("gpu_loops.py", "free")
    work = {"model": "layer", "model.cls": "torch.nn.Linear", "model.args": [[65536, 1]], "mode": "infer"}
    most = {"model.input_shape": [[65536]], "batch_size": "max", "verify": False}
    (record,) = measured(**work, **most).records
    by_hand = (free - 4 * 65537) // (
        4 * 65537
    )  # fp32: what is left by the weights, by an item and its output
    found.near("batch_size=max of a linear layer", record.case.config.batch_size, by_hand, 0.02)


def check_engines(found: Found) -> None:
    """10: every engine's answer and time."""
    work = {"model": "resnet18", "mode": "infer"}
    results = [measured(engine=engine, batch_size=sizes, **work) for engine, sizes in BATCHES.items()]
    graphs = {"engine.mode": "reduce-overhead", "batch_size": 8}
    results.append(measured(engine="compile", **graphs, **work))
    for record in (each for result in results for each in result.records):
        config, outcome = record.case.config, record.outcome
        name = f"{config.engine.name} {config.engine.mode} b{config.batch_size}"
        answer = outcome.check.answer.value if outcome.check.answer else None
        right = outcome.status == "ok" and answer in ("same", "reference")
        found.holds(name, right or outcome.status == "skipped", outcome.error or answer)
        found.note(f"{name}: seconds", seconds_of(record, "inference"))


def check_survival(found: Found) -> None:
    """11: a worker killed amid its samples leaves nothing on the GPU, and the next case runs."""
    before, known = used(), set(processes())
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        long = ["model=resnet18", "mode=infer", "device=cuda", "measure.min_time=60", "measure.max_time=60"]
        command = [sys.executable, "-m", "microbench", *long, f"hydra.run.dir={folder}"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
            while used() < before + 200 * MIB and run.poll() is None:
                time.sleep(0.2)
            time.sleep(1.0)
            for pid in workers_of(run.pid):
                os.kill(pid, signal.SIGKILL)
            run.send_signal(signal.SIGINT)
            run.wait()
    time.sleep(2.0)
    found.holds("no process is left", set(processes()) <= known, sorted(set(processes()) - known))
    found.holds("memory is free again", used() <= before + 64 * MIB, used(), before)
    ended(found, "the next case", measured(model="dense", mode="infer"))


def workers_of(parent: int) -> list[int]:
    """Return the process ids of a command's workers: the children of its servers."""

    def children(pid: int) -> list[int]:
        with suppress(OSError):
            tasks = Path(f"/proc/{pid}/task").glob("*/children")
            return [int(each) for path in tasks for each in path.read_text().split()]
        return []

    return [worker for server in children(parent) for worker in children(server)]


def steps() -> list[Step]:
    """Return all steps, each with its share of the time."""
    named = [
        ("machine", 10, check_machine),
        ("constants", 45, check_constants),
        ("forks", 50, check_forks),
        ("flags", 20, check_flags),
        ("bias", 140, check_bias),
        ("cold", 15, check_cold),
        ("memory", 40, check_memory),
        ("watcher", 40, check_watcher),
        ("energy", 25, check_energy),
        ("memory limits", 35, check_memory_limits),
        ("engines", 90, check_engines),
        ("survival", 15, check_survival),
    ]
    return [Step(number, *each) for number, each in enumerate(named)]


# What is written


def table(done: Sequence[Step]) -> str:
    """Return the verdicts and the comparisons as Markdown."""
    lines = ["| step | | s | |", "| --- | --- | --- | --- |"]
    lines += [row(f"{each.number} {each.name}", each.status, f"{each.took:.0f}", each.why) for each in done]
    lines += ["", "| | microbench | other | | |", "| --- | --- | --- | --- | --- |"]
    for step in done:
        for each in step.found.findings:
            verdict = {True: PASS, False: FAIL, None: ""}[each.passed]
            name = f"{step.number} {each.name}"
            lines.append(row(name, each.measured, each.expected, verdict, each.rule))
    return "\n".join(lines) + "\n"


def row(*cells: Any) -> str:
    """Return a row of a table."""
    return f"| {' | '.join(map(shown, cells))} |"


def shown(value: Any) -> str:
    """Return a value as a cell of the table."""
    text = f"{value:.6g}" if isinstance(value, float) else "" if value is None else str(value)
    return text.replace("|", "/").replace("\n", " ")[:200]


def write(folder: Path, done: Sequence[Step], begun: float) -> None:
    """Write what was found so far."""
    summary = [
        {
            "step": each.number,
            "name": each.name,
            "status": each.status,
            "why": each.why,
            "seconds": each.took,
            "findings": [asdict(finding) for finding in each.found.findings],
        }
        for each in done
    ]
    found = {"seconds": time.monotonic() - begun, "steps": summary}
    (folder / "gpu_check.json").write_text(json.dumps(found, indent=1, default=str))
    (folder / "table.md").write_text(table(done))
    traces = {each.name: each.found.traces for each in done}
    (folder / "traces.json").write_text(json.dumps(traces, default=plain))


def plain(value: Any) -> Any:
    """Return what JSON can hold instead of an object."""
    import msgspec

    try:
        return msgspec.to_builtins(value)
    except TypeError:
        return str(value)


def has_gpu() -> bool:
    """Return whether torch finds a GPU, asked in another process."""
    command = [sys.executable, "-c", "import torch; print(torch.cuda.is_available())"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == "True"


def main(arguments: Sequence[str]) -> int:
    """Do the steps, and return the number of those that failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=520.0, help="time for all steps")
    parser.add_argument("--out", type=Path, default=Path("gpu_check"), help="folder for what is written")
    parser.add_argument("steps", nargs="*", help="names or numbers of the steps to do; by default all")
    given = parser.parse_args(arguments)
    if not has_gpu():
        print("skipped: no GPU")
        return 0
    given.out.mkdir(parents=True, exist_ok=True)
    wanted = [each for each in steps() if not given.steps or {str(each.number), each.name} & set(given.steps)]
    begun, whole = time.monotonic(), sum(each.seconds for each in wanted)
    for place, step in enumerate(wanted):
        left = given.seconds - (time.monotonic() - begun)
        rest = sum(each.seconds for each in wanted[place:])
        step.run(min(step.seconds * max(1.0, given.seconds / whole), max(1.0, left * step.seconds / rest)))
        print(f"{step.number} {step.name}: {step.status} {step.why}", flush=True)
        write(given.out, wanted[: place + 1], begun)
    return sum(step.status == FAIL for step in wanted)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
