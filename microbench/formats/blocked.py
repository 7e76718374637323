"""A module in oneDNN's blocked layout, as far as torch computes in it, with conversions around the rest.

Each node of the module's graph is tried once, on dense and on blocked copies of the same example. It runs
blocked if torch can do so and computes the same, including gradients in training; otherwise it runs dense.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx import Node

from microbench.errors import SkippedError, first_line
from microbench.formats.trial import NodeRun, attempt, is_convertible
from microbench.workloads import Workload

ANCHORS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""Parts for which dense inputs are converted; all others take their inputs as they are."""

WHOLE = "module"  # the name of the module itself among its root's parts

Pack = Callable[[nn.Module], nn.Module]


class Blocked(nn.Module):
    """A module that takes blocked inputs: it has the module's parameters, and runs a graph.

    Attributes:
        module: the original module.
        conversions: layout conversions per call.
    """

    def __init__(self, module: nn.Module, graph: fx.GraphModule, conversions: int) -> None:
        super().__init__()
        self.module, self.conversions = module, conversions
        self._run = graph.forward  # not the graph itself, which would be a part with the same parameters

    def forward(self, *inputs: Tensor) -> Any:
        """Run the graph."""
        return self._run(*inputs)


def blocked(workload: Workload, training: bool, pack: Pack, dense_output: bool) -> Blocked:
    """Return a workload's module in the blocked layout.

    Args:
        workload: the module, in train or eval mode, with dense inputs; a small batch is enough.
        training: whether gradients must be right too.
        pack: converts a part's weights to the layout, once.
        dense_output: whether the call converts its outputs.

    Raises:
        SkippedError: torch.fx cannot trace the module, or torch supports no part of it in the layout.
    """
    root, inputs = Root(workload.module), workload.inputs
    plan = _Plan(root, training, pack)
    with torch.random.fork_rng(devices=()):
        plan.make(traced(root, workload.name, len(inputs)), inputs, dense_output)
    if not plan.computes:
        why = f" ({plan.refusal})" if plan.refusal else ""
        raise SkippedError(f"layout=mkldnn: torch supports no part of {workload.name} in it{why}")
    return Blocked(workload.module, fx.GraphModule(plan.parts, plan.graph), plan.conversions)


class _Plan:
    """The graph to run, built node by node from the traced one.

    Attributes:
        graph: the graph.
        parts: the modules and tensors that it names.
        conversions: number of its nodes that convert between layouts.
        computes: whether any node computes in the blocked layout.
        refusal: the first node that does not, and why.
    """

    def __init__(self, root: Root, training: bool, pack: Pack) -> None:
        self.graph, self.conversions = fx.Graph(), 0
        self.parts: dict[str, Any] = {}
        self._root, self._training, self._pack = root, training, cache(pack)
        self._examples: dict[Node, Any] = {}  # a dense example of its value, by traced node
        self._homes: dict[Node, Node] = {}  # the new node that has its value, by traced node
        self._twins: dict[Node, Node] = {}  # the node with its value in the other layout, by new node
        self._blocked: set[Node] = set()  # the new nodes whose values are blocked
        self.refusal = ""
        self.computes = False

    def make(self, graph: fx.Graph, inputs: Sequence[Tensor], dense_output: bool) -> None:
        """Add all nodes, each in its layout."""
        examples, users = iter(inputs), {node: len(node.users) for node in graph.nodes}
        for node in graph.nodes:
            if node.op == "placeholder":
                self._begin(node, next(examples))
            elif node.op == "get_attr":
                self._begin(node, _resolve(self._root, node.target))
            elif node.op == "output":
                self.graph.node_copy(node, self._dense if dense_output else self._homes.__getitem__)
            else:
                self._place(node)
            for each in node.all_input_nodes:
                users[each] -= 1
                if not users[each]:
                    del self._examples[each]

    def _begin(self, node: Node, example: Any) -> None:
        """Add an input or an attribute; inputs are blocked."""
        new = self._homes[node] = self.graph.node_copy(node)
        self._examples[node] = example
        if node.op == "get_attr":
            self.parts[str(node.target)] = example
        elif is_convertible(example):
            self._blocked.add(new)

    def _place(self, node: Node) -> None:
        """Add a call, blocked or dense."""
        part = _resolve(self._root, node.target) if node.op == "call_module" else None
        plain = attempt(node, part, self._examples, self._training)
        packed, run = self._try_blocked(node, part, plain)
        new = self.graph.node_copy(node, self._dense if run is None else self._as_blocked)
        if part is not None:
            new.target = f"{node.target}{'_packed' if packed is not part else ''}"
            self.parts[new.target] = packed
        if run is not None and run.is_blocked:
            self._blocked.add(new)
            self.computes = True
        self._keep(node, new, plain)

    def _keep(self, node: Node, new: Node, plain: NodeRun) -> None:
        """Record the node with a call's value, which also replaces inputs that the call changed in place."""
        example = plain.output.detach() if isinstance(plain.output, Tensor) else plain.output
        for each in (node, *plain.changed):
            if plain.changed.get(each, plain.output) is not plain.output:
                raise SkippedError(
                    f"layout=mkldnn: {_name(node, None)} changes a tensor that it does not return"
                )
            self._examples[each], self._homes[each] = example, new

    def _try_blocked(
        self, node: Node, part: nn.Module | None, plain: NodeRun
    ) -> tuple[nn.Module | None, NodeRun | None]:
        """Try a call on blocked tensors; return its part, and the run, or None if it must run dense."""
        inputs = [each for each in node.all_input_nodes if each.op != "get_attr"]
        is_anchor = isinstance(part, ANCHORS) and any(is_convertible(self._examples[each]) for each in inputs)
        if not is_anchor and not any(self._homes[each] in self._blocked for each in inputs):
            return part, None
        try:
            packed = part if part is None else self._pack(part)
            run = attempt(node, packed, self._examples, self._training, blocked=True)
            if not run.agrees(plain):
                why = "its results differ there"
            elif run.is_blocked and not is_convertible(plain.output):  # the next would be tried on dense ones
                why = "its output cannot be converted"
            else:
                return packed, run
        except Exception as error:  # operators without a blocked version may fail in any way
            why = first_line(error).partition(". ")[0]
        self.refusal = self.refusal or f"{_name(node, part)}: {why}"
        return part, None

    def _dense(self, node: Node) -> Node:
        """Return the new node with a traced node's value, dense."""
        home = self._homes[node]
        return self._converted(home, "to_dense") if home in self._blocked else home

    def _as_blocked(self, node: Node) -> Node:
        """Return the new node with a traced node's value, blocked if it is a tensor that can be."""
        home = self._homes[node]
        if home in self._blocked or node.op == "get_attr" or not is_convertible(self._examples[node]):
            return home
        return self._converted(home, "to_mkldnn")

    def _converted(self, home: Node, method: str) -> Node:
        """Return the node that converts a node's value; there is at most one."""
        if home not in self._twins:
            self._twins[home] = self.graph.call_method(method, (home,))
            self.conversions += 1
        return self._twins[home]


def _resolve(root: nn.Module, name: Any) -> Any:
    """Return the part or attribute of a dotted name."""
    found: Any = root
    for each in str(name).split("."):
        found = getattr(found, each)
    return found


def _name(node: Node, part: nn.Module | None) -> str:
    return type(part).__name__ if part is not None else getattr(node.target, "__name__", str(node.target))


class Root(nn.Module):
    """A module that only calls another, so that a trace shows the other as a part even if it is a leaf."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Any) -> Any:
        """Call the module."""
        return self.module(*inputs)


class PartTracer(fx.Tracer):
    """Traces a root's call, and knows the part that it is in.

    Args:
        inputs: number of inputs.
        whole: names of parts that are not traced into.
    """

    def __init__(self, inputs: int, whole: Collection[str]) -> None:
        super().__init__()
        self._inputs, self._whole = inputs, whole
        self.inside: list[str] = []

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a part stays whole."""
        return module_qualified_name in self._whole or super().is_leaf_module(m, module_qualified_name)

    def create_args_for_root(self, root_fn: Any, *_: Any, **__: Any) -> tuple[Any, list[Any]]:
        """Make one placeholder per input: the root's signature does not say how many there are."""
        names = [f"input_{index}" for index in range(self._inputs)]
        return root_fn, [self.root, *(self.create_proxy("placeholder", name, (), {}) for name in names)]

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """Trace a part."""
        self.inside.append(self.path_of_module(m))
        result = super().call_module(m, forward, args, kwargs)
        self.inside.pop()
        return result


def traced(root: Root, name: str, inputs: int) -> fx.Graph:
    """Trace a root's call, for the workload `name`; a part that torch.fx cannot trace stays whole.

    Raises:
        SkippedError: that part is the module itself.
    """
    whole: set[str] = set()
    while True:
        tracer = PartTracer(inputs, whole)
        try:
            return tracer.trace(root)
        except Exception as error:  # a forward may do anything with its tensors' proxies
            part = tracer.inside[-1] if tracer.inside else WHOLE
            if part == WHOLE or part in whole:
                raise SkippedError(
                    f"layout=mkldnn: torch.fx cannot trace {name} into its parts: {first_line(error)}"
                ) from error
            whole.add(part)
