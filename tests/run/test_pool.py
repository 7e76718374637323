"""Which cases share a server, and when a new one is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from microbench.cli.main import early_variables
from microbench.options.compose import from_options
from microbench.run import pool as pools
from microbench.run import workers as running
from microbench.run.case import Case
from microbench.run.protocol import Describe
from microbench.system import driver

from .support import Workers, cases


def test_preloads_are_what_a_case_needs() -> None:
    (layer,) = cases(1)
    (model,) = from_options({"model": "vgg16", "mode": "train"}, sweep=False)
    assert pools.preloads(layer) == [
        "microbench.worker",
        "microbench.workloads.layer",
        "microbench.engines.eager",
        "microbench.modes.infer",
    ]
    assert set(pools.preloads(model)) == {
        "microbench.worker",
        "microbench.workloads.torchvision",
        "microbench.engines.eager",
        "microbench.modes.train",
    }


def test_cases_of_a_search_share_workers_that_have_not_imported_their_engines() -> None:
    candidates = from_options({"experiment": "fastest", "model": "dense", "mode": "infer"}, sweep=True)
    assert {"eager", "openvino", "compile"} <= {each.config.engine.name for each in candidates}
    (shared,) = {tuple(pools.preloads(each)) for each in candidates}
    assert [name for name in shared if name.startswith("microbench.engines")] == ["microbench.engines.eager"]


def case_of(**options: Any) -> Case:
    defaults = {"model": "dense", "device": "cpu", "measure.rounds": 1}
    (case,) = from_options(defaults | options, sweep=False)
    return case


@pytest.mark.parametrize("isolation", ["fork", "spawn", "inline"])
@pytest.mark.parametrize(
    "options", [{"batch_size": 3}, {"model": "conv1x1"}, {"threads": 2, "seed": 5, "timeout": 1.0}]
)
def test_cases_that_need_the_same_modules_share_workers(options: dict[str, Any], isolation: str) -> None:
    pool = pools.Pool()
    workers = pool.of(case_of(isolation=isolation))
    assert pool.of(case_of(isolation=isolation, **options)) is workers
    assert pools.Pool().of(case_of(isolation=isolation)) is not workers


@pytest.mark.parametrize("options", [{"model": "vgg16"}, {"mode": "train"}, {"isolation": "spawn"}])
def test_cases_that_need_other_modules_or_isolation_have_workers_of_their_own(
    options: dict[str, Any],
) -> None:
    pool = pools.Pool()
    workers = pool.of(case_of())
    assert pool.of(case_of(**options)) is not workers
    assert pool.of(case_of()) is workers  # regardless of the cases in between


def test_the_workers_of_a_case_have_its_isolation_and_import_its_modules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[tuple[str, list[str]]] = []
    for kind in ("Forked", "Spawned"):

        def start(
            modules: Sequence[str], variables: Mapping[str, str], early: object, kind: str = kind
        ) -> Workers:
            assert (variables, early) == ({}, None)
            started.append((kind, list(modules)))
            return Workers([])

        monkeypatch.setattr(pools, kind, start)
    planned = [case_of(), case_of(isolation="spawn", mode="train"), case_of(batch_size=3)]
    pool = pools.Pool()
    for case in planned:
        pool.of(case)
    assert started == [("Forked", pools.preloads(planned[0])), ("Spawned", pools.preloads(planned[1]))]
    assert isinstance(pool.of(case_of(isolation="inline")), pools.Inline)
    assert len(started) == 2


def test_closing_a_pool_closes_all_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Sequence[str]] = []

    class Closing(Workers):
        def close(self) -> None:
            closed.append(self.modules)

        modules: Sequence[str] = ()

    def start(modules: Sequence[str], variables: Mapping[str, str], early: object) -> Closing:
        workers = Closing([])
        workers.modules = modules
        return workers

    monkeypatch.setattr(pools, "Forked", start)
    pool = pools.Pool()
    planned = [case_of(), case_of(mode="train"), case_of(batch_size=3)]
    for case in planned:
        pool.of(case)
    pool.close()
    assert sorted(closed) == sorted(pools.preloads(case) for case in planned[:2])


def test_renewing_a_pool_closes_the_servers_that_rounds_do_not_share() -> None:
    pool = pools.Pool()
    shared, own = case_of(), case_of(**{"measure.share_server": False})
    before = pool.of(shared), pool.of(own)
    assert before[0] is not before[1]
    pool.renew()
    assert pool.of(shared) is before[0]
    assert pool.of(own) is not before[1]


def test_a_pool_ends_the_server_that_was_unused_for_longest_before_it_starts_too_many() -> None:
    pool = pools.Pool()
    many = [case_of(**{"env_set.X": str(number)}) for number in range(pools.MOST)]
    workers = [pool.of(case) for case in many]
    assert pool.of(many[0]) is workers[0]
    pool.of(case_of())
    assert pool.of(many[0]) is workers[0]
    assert pool.of(many[1]) is not workers[1]


def test_cases_with_other_variables_have_workers_of_their_own() -> None:
    pool = pools.Pool()
    workers = pool.of(case_of(**{"env_set.X": "1"}))
    assert pool.of(case_of(**{"env_set.X": "1"})) is workers
    assert pool.of(case_of(**{"env_set.X": "2"})) is not workers
    assert pool.of(case_of()) is not workers


def test_an_allocator_is_preloaded_with_what_a_case_preloads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools.allocator, "find", lambda name: f"/lib{name}.so")
    started: list[Mapping[str, str]] = []
    monkeypatch.setattr(pools, "Forked", lambda modules, variables, early: started.append(variables))
    pools.Pool().of(case_of(**{"allocator": "jemalloc", "env_set.LD_PRELOAD": "/mine.so", "env_set.X": "1"}))
    assert started == [{"X": "1", "LD_PRELOAD": "/libjemalloc.so:/mine.so"}]


class TestOnAMachineWithAGpu:
    @pytest.fixture
    def started(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
        """The variables of each server that is started, on a machine with a driver."""
        found: list[dict[str, str]] = []

        class Server:
            def __init__(self, modules: Sequence[str], variables: Mapping[str, str]) -> None:
                found.append(dict(variables))

            def name(self, modules: Sequence[str]) -> None:
                pass

        class Started(running.Forked):
            def ask(self, *_: Any) -> Any:
                self._server = self._server or running._Server(self._modules, self._variables)

        monkeypatch.setattr(running, "_Server", Server)
        monkeypatch.setattr(pools, "Forked", Started)
        monkeypatch.setattr(driver, "NODES", (tmp_path,))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        return found

    def ask(self, early: running.EarlyServer, *devices: str) -> None:
        pool = pools.Pool(early)
        for device in devices:
            pool.of(case_of(device=device)).ask(Describe(device), lambda progress: None, None)

    @pytest.mark.parametrize(
        ("arguments", "devices", "variables"),
        [
            (["model=dense"], ["auto", "cuda"], [{}]),
            (["model=dense", "device=cuda"], ["cuda"], [{}]),
            (["model=dense", "device=cpu"], ["cpu"], [{"CUDA_VISIBLE_DEVICES": ""}]),
            (["model=dense"], ["auto", "cpu"], [{}, {"CUDA_VISIBLE_DEVICES": ""}]),
        ],
    )
    def test_cases_of_the_cpu_see_none_and_the_early_server_is_used_where_it_can(
        self,
        arguments: list[str],
        devices: list[str],
        variables: list[dict[str, str]],
        started: list[dict[str, str]],
    ) -> None:
        self.ask(running.EarlyServer(early_variables(arguments)), *devices)
        assert started == variables

    def test_those_of_each_gpu_see_it_alone_of_what_the_user_lets_them_see(
        self, started: list[dict[str, str]]
    ) -> None:
        pool = pools.Pool()
        for device in ("cuda:0", "cuda:1"):
            options = {"device": device, "env_set.CUDA_VISIBLE_DEVICES": "5,3"}
            pool.of(case_of(**options)).ask(Describe("cuda"), lambda progress: None, None)
        assert started == [{"CUDA_VISIBLE_DEVICES": "5"}, {"CUDA_VISIBLE_DEVICES": "3"}]

    def test_without_a_driver_the_early_server_is_used_for_the_cpu(
        self, started: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(driver, "NODES", (tmp_path / "none",))
        self.ask(running.EarlyServer(early_variables(["model=dense"])), "auto", "cpu")
        assert started == [{}]
