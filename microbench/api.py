"""The Python interface, which offers the same as the command line."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import microbench.run
import microbench.watch  # noqa: F401 - imported later, a room would replace the function of its name
from microbench.config import MARGIN
from microbench.errors import UserError, unknown
from microbench.records import result as results

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import nn

    from microbench.analysis.profile import Profile
    from microbench.system.watcher import WatchedMemory
    from microbench.tables.compare import Comparison
    from microbench.tables.profile import ProfileTable
    from microbench.tables.search import SearchTable


class Result(results.Result):
    """The result of a run; printed, it is what the command line shows."""

    def __str__(self) -> str:
        from microbench.tables.terminal import text_of

        return text_of(self)

    def search(self) -> SearchTable:
        """Return a search's result; printed, it is a table.

        Raises:
            UserError: this is no search, or plain eager was not measured.
        """
        from microbench.analysis.search import search_result  # brings scipy
        from microbench.tables.search import SearchTable

        if not self.is_search:
            raise UserError("This run was no search: +experiment=fastest is one.")
        found = search_result(self.cases())
        if found is None:
            raise UserError(f"Plain eager, the search's baseline, was not measured: {self.cases()[0].reason}")
        return SearchTable(**vars(found))

    def profile(self, place: int | None = None) -> Profile:
        """Return the profile of a case with mode=profile.

        Args:
            place: the case's place among `cases()`, from 0; not needed if there is only one case.

        Raises:
            UserError: there is no profile, the case failed, or there are several cases.
        """
        from microbench.analysis.profile import profile_of

        cases = self.cases()
        if place is None and len(cases) != 1:
            raise UserError(f"There is no one profile: pick one of {len(cases)} cases by its place, from 0.")
        if place is not None and place not in range(len(cases)):
            raise UserError(f"There is no case {place}: give a place from 0 to {len(cases) - 1}.")
        case = cases[place or 0]
        found = profile_of(case)
        if found is None:
            why = case.first.outcome.error or "the case has another mode"
            raise UserError(f"There is no profile: {why}.")
        return found

    def published(self, name: str) -> pd.DataFrame:
        """Return published figures with the measured ones: one row per case, quantity and machine.

        Its columns are model, batch_size, variant (as the table calls it), case_id, status, quantity,
        measured, measured_ratio, and device, software, published, published_ratio, which are missing if
        nothing was published. Figures are in seconds, in 1/s or in bytes; ratios are relative to the table's
        baseline on the same machine.

        Args:
            name: the table, such as `poros`; all are in `microbench/reference/`.

        Raises:
            UserError: there is no such table.
        """
        import pandas as pd

        from microbench.analysis import published, published_files

        rows = published.rows(self.cases(), published_files.load(name))
        return pd.DataFrame([each for row in rows for each in published.flat(row)])


Measured = results.Result | Path | str | Iterable[Path | str]
"""A result, or its place: a run's folder, its file of records, or several of these."""


def new_run_id() -> str:
    """Return the run's start in UTC and eight random digits, so that no two runs share a folder."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def load(paths: Iterable[Path | str] | Path | str) -> Result:
    """Load files of records or folders with them, concatenated.

        microbench.load("outputs/**").to_frame()

    A path may be a file, a run's folder, any folder above such, or a pattern such as `outputs/**`. A record
    that occurs several times, as in the same file given twice, counts once. The records are decoded when they
    are needed; a data frame of them needs a cache alone.

    Raises:
        UserError: a file cannot be read, or contains something other than records, or there is none.
    """
    return Result(**vars(results.load(paths)))


def run(
    model: str | nn.Module | Mapping[str, Any] | None = None,
    *,
    inputs: Any = None,
    objective: str | Callable[[Any], torch.Tensor] | None = None,
    folder: str | Path | None = None,
    **options: Any,
) -> Result:
    """Measure one case and return its result, which is also written to disk.

        microbench.run("resnet18", mode="infer", batch_size=1).median("inference")
        microbench.run(MyModel(), inputs=(ids, mask), objective=lambda output: output.loss, mode="train")
        microbench.run(model="layer", mode="train", measure={"rel_ci": 0.02},
                       **{"model.cls": "torch.nn.GELU", "model.input_shape": [1024]})

    A module object stays as it is, because a copy of it is measured, in processes of its own.

    Args:
        model: the model's name, or any module object.
        inputs: the arguments of a module object: a tuple, a dictionary of keyword arguments, or a single
            argument; tensors may be nested in tuples, lists, dictionaries and dataclasses.
        objective: what training a module object minimizes: a function of its output that returns a scalar, or
            the name of an objective; None for an all-ones gradient of the output, as layers have. Or what a
            search looks for.
        folder: where `records.jsonl` is written; by default `outputs/<run_id>`.
        options: the options of the command line; one in a group by its dotted key, or as a dictionary.

    Raises:
        UserError: the options describe no case, the device cannot be used here, or a module object cannot be
            sent to another process. A case that fails does not raise: `result.ok` is False, and its record
            says why.
    """
    return _measure(_options(model, objective, options), inputs, folder, sweep=False)


def sweep(
    model: str | nn.Module | Mapping[str, Any] | Sequence[str | nn.Module] | None = None,
    *,
    inputs: Any = None,
    objective: str | Callable[[Any], torch.Tensor] | None = None,
    folder: str | Path | None = None,
    **options: Any,
) -> Result:
    """Measure every combination of the listed values.

        microbench.sweep(["vgg16", "resnet50"], batch_size=[1, 8], mode=["train", "infer"])
        microbench.sweep(MyModel(), inputs=x, engine=["eager", "compile"])

    An option whose value is itself a list takes a list of lists. Several module objects take the same inputs.
    For the rest see `run`.
    """
    return _measure(_options(model, objective, options), inputs, folder, sweep=True)


def _options(model: Any, objective: Any, others: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options as one dictionary."""
    given = {"model": model, "objective": objective}
    return {**{key: value for key, value in given.items() if value is not None}, **others}


def compare(
    a: Measured,
    b: Measured | None = None,
    *,
    by: str | None = None,
    baseline: object = None,
    margin: float = MARGIN,
    phase: str | Sequence[str] | None = None,
    at: str | None = None,
) -> Comparison:
    """Compare two results, or with `by`, the cases of one; printed, the comparison is its table.

        print(microbench.compare("outputs/before", "outputs/after"))
        microbench.compare(result, by="engine", baseline="eager").to_frame()
        assert not microbench.compare("outputs/before", "outputs/after").failing("slower,inconclusive")

    Args:
        a: the baseline: a result, a run's folder or its file of records, or several of these.
        b: the result to compare with it.
        by: the option to compare by within `a`: an axis such as `engine`, or a dotted key. With `b`, an
            option of the work that may differ between the two, such as `batch_size`; configurations may
            differ anyway.
        baseline: the value of `by` that the others are compared with; by default the first of the run.
        margin: the share by which a ratio may differ from 1 and still count as the same.
        phase: the phases to compare, as a list or separated by commas, or `all`; by default total and
            inference.
        at: the percentile to compare, such as `p99`; by default the median.

    Raises:
        NothingToCompareError: no cases form a pair, or none of the pairs were measured.
        UserError: a file cannot be read, or an argument's value is not allowed.
    """
    from microbench.analysis import compare as comparing
    from microbench.tables.compare import Comparison

    first, second = _result(a), None if b is None else _result(b)
    return Comparison(**vars(comparing.compare(first, second, by, baseline, margin, phase, at)))


def stat(
    model: nn.Module,
    inputs: Any = None,
    *,
    input_shape: Sequence[Any] | None = None,
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    timing: bool = False,
    memory: bool = False,
    training: bool = False,
    view: str = "calls",
    columns: Sequence[str] = (),
    depth: int | None = None,
    functions: bool = True,
    energy: Mapping[str, float] | None = None,
) -> ProfileTable:
    """Profile a module's arithmetic, memory and time, call by call; printed, the profile is a table.

        print(microbench.stat(resnet50(), input_shape=(1, 3, 224, 224)))
        microbench.stat(model, inputs=(ids, mask), timing=True, view="types").to_frame()

    The module runs in this process (as a dry run unless `timing` or `memory` is true) and is left as
    it was: attributes, parameters, gradients, buffers, hooks, train or eval state.

    Args:
        model: any module; a compiled one does not show its layers.
        inputs: its arguments: a tuple, a dictionary of keyword arguments, or a single argument. They may
            hold tensors in tuples, lists, dictionaries and objects, nested in any way.
        input_shape: instead of `inputs`, the shape of a standard normal input with its batch, or a list of
            shapes.
        batch_size: items in the batch; `input_shape` is then without it.
        device: where to run; by default on the module's device, or if it has no parameters, on its inputs'.
            On another device, a copy of it is profiled.
        timing: also time every call.
        memory: also track the memory that calls allocate.
        training: profile a training step's forward pass instead of inference, and count the backward FLOPs.
        view: calls (in order), leaves (by module), tree, types or root.
        columns: the columns to print, see docs/profile.md; `~name` hides a default one.
        depth: the depth of the tree.
        functions: also show torch's operators outside the leaf modules.
        energy: the assumptions of the energy estimate: multiply, on_chip and dram in pJ, hit_rate.

    Raises:
        UserError: the module cannot be profiled, or fails on these inputs; says where.
    """
    from microbench.profile import stat as profiling
    from microbench.tables.profile import ProfileTable

    options: dict[str, Any] = {"view": view, "columns": columns, "depth": depth, "energy": energy or {}}
    shown = _checked(options, timing, memory, training)
    wanted = profiling.Wanted(bool(timing), bool(memory), bool(training))
    found = profiling.stat(model, inputs, input_shape, batch_size, device, wanted)
    found = replace(found, functions=functions, energy=shown.pop("energy"))
    return ProfileTable(**vars(found), **shown)


@contextmanager
def watch(device: int | str = 0, *, period: float = 0.1) -> Iterator[WatchedMemory]:
    """Watch an NVIDIA GPU while any code runs; needs its driver, and neither torch nor a model.

        with microbench.watch(device=0) as memory:
            model(x)
        print(memory.peak_kb, "KB", memory.timeline.power)

    The result has `peak_kb`: the most in use on the device above the level at the beginning, in KB of 1024
    bytes; CUDA's context is part of it if the block makes it. `process_kb`: what this process takes at the
    end. `others`: the number of other processes. `timeline`: clocks, power, temperature, memory and energy
    every `period` seconds, as lists. The list of processes is read at both ends alone.

    Args:
        device: the GPU's number as this process's CUDA counts (CUDA_VISIBLE_DEVICES is obeyed; GPUs that
            differ are counted in the order of the PCI bus), or its UUID (`GPU-…`, or `MIG-…` of a part).
        period: seconds between readings.

    Raises:
        UserError: there is no such GPU, no driver, or no permission.
    """
    from microbench.system.gpu import NoAnswerError, opened, visible
    from microbench.system.watcher import WatchedMemory

    with ExitStack() as stack:
        try:
            found = stack.enter_context(opened(visible(device)))
        except NoAnswerError as error:
            raise UserError(f"microbench.watch needs an NVIDIA GPU and its driver: {error}.") from error
        yield stack.enter_context(WatchedMemory(found, period))


def _checked(options: dict[str, Any], timing: bool, memory: bool, training: bool) -> dict[str, Any]:
    """Check the display options of a profile, and return them as `ProfileTable` takes them.

    Raises:
        UserError: there is no such view, column or constant, or its value is not allowed.
    """
    from microbench.analysis.columns import available, check, names_of
    from microbench.config import OPTIONS, PROFILE, EnergyConfig

    view, columns, depth, energy = options.values()
    OPTIONS["view"].check(view)
    OPTIONS["depth"].check(depth)
    OPTIONS["depth"].check_owner(depth, {"mode.name": PROFILE, "view": view})
    if not isinstance(energy, Mapping):
        raise UserError(f"energy={energy!r} is not possible: give a dictionary, such as {{'dram': 640}}.")
    asked = names_of(columns)
    check(asked, available(timing, memory, training))
    known = [item.name for item in fields(EnergyConfig)]
    for name in energy:
        if name not in known:
            raise unknown("energy constant", str(name), known)
    for name, value in energy.items():
        OPTIONS[f"energy.{name}"].check(value)
    return {"shown": view, "columns": asked, "depth": depth, "energy": EnergyConfig(**energy)}


def _result(measured: Measured) -> results.Result:
    return measured if isinstance(measured, results.Result) else load(measured)


def _measure(options: dict[str, Any], inputs: Any, folder: str | Path | None, sweep: bool) -> Result:
    from microbench.options.given import cases_of
    from microbench.records.store import Store
    from microbench.run.resume import folder_of
    from microbench.run.runner import Run
    from microbench.tables.progress import Silent

    if strange := [key for key in options if key.startswith("hydra")]:
        raise UserError(f"{strange[0]} is for the command line: give folder=DIR for the records.")
    run_id = new_run_id()
    with cases_of(options, inputs, sweep) as cases:
        resume = cases[0].config.resume
        if resume is not None and folder:
            raise UserError("resume=DIR names the folder: leave out folder=.")
        place = folder_of(resume) if resume is not None else Path(folder or Path("outputs") / run_id)
        with Store(place) as store:
            completing = sweep or resume is not None
            return Result(**vars(Run(cases, store, Silent(), run_id, completing=completing).measure()))
