"""Stratum 2, types and calls: rounds over all functions until the state stands still.

In a round every stale function is run against the state of the round before, so neither the order of functions nor that
of files can be seen in the result. When nothing changes any more, parameters that no call of the project fills become
unknown, and the rounds go on to the end: what is still empty then is code that nothing reaches.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from auditor.project.callables import CallResult, Calls
from auditor.project.infer import Inference
from auditor.project.symbols import ClassNode, FunctionNode, Symbols
from auditor.project.traces import Traces
from auditor.project.types import TOP
from auditor.project.world import World

MAX_ROUNDS = 40  # a state that still moves then is widened: what moved becomes unknown


class Linked:
    """The finished stratum: the world and, for each function, the result of each of its calls by operation. `runs` counts
    the functions that were run, beside those whose trace was valid."""

    def __init__(self, symbols: Symbols, stored: bytes | None = None) -> None:
        self.symbols = symbols
        self.world = World(symbols)
        self.calls = Calls(self.world)
        self.traces = Traces(symbols, stored)
        self.results: dict[FunctionNode, dict[int, CallResult]] = {}
        self.rounds = 0
        self.runs = 0
        functions = list(symbols.functions())
        self._settle(functions)
        for function in functions:
            self._open_parameters(function)
        self._settle(self.world.advance())

    @cached_property
    def attributes(self) -> Mapping[ClassNode, tuple[str, ...]]:
        """The attributes of a class that something stores, by name; those of its bases stand there."""
        found: dict[ClassNode, set[str]] = {}
        for kind, owner, name in self.world.state:
            if kind == "attr" and isinstance(owner, ClassNode):
                found.setdefault(owner, set()).add(name)
        return {cls: tuple(sorted(names)) for cls, names in found.items()}

    def _settle(self, stale: list[FunctionNode]) -> None:
        while stale:
            self.rounds += 1
            for function in stale:
                trace = self.traces.find(function, self.world)
                if trace is not None:
                    self.world.take(
                        function,
                        [*(k for k, _ in trace.asked), *(("below", c, "") for c, _ in trace.below)],
                        trace.said,
                    )
                    self.results[function] = trace.results
                    continue
                self.world.begin()
                results = self.run(function).results
                asked, said = self.world.end(function)
                self.results[function] = results
                self.traces.record(function, asked, said, results, self.world)
            if self.rounds > MAX_ROUNDS:
                self.world.added = dict.fromkeys(self.world.added, TOP)
            stale = self.world.advance()

    def run(self, function: FunctionNode) -> Inference:
        """One run over a function against the present state."""
        self.runs += 1
        inference = Inference(function, self.world, self.calls)
        inference.run()
        return inference

    def _open_parameters(self, function: FunctionNode) -> None:
        """Parameters without annotation that nothing was passed to: their callers are outside."""
        for param in function.header.params:
            key = ("param", function, param.name)
            fillable = param.annotation is None and param.kind in ("positional", "normal", "keyword")
            if fillable and key not in self.world.state:
                self.world.take(function, (), {key: TOP})
