"""Stratum 2, types and calls: rounds over all functions until the state stands still.

In a round every stale function is run against the state of the round before, so neither the order of functions nor that
of files can be seen in the result. When nothing changes any more, parameters that no call of the project fills become
unknown, and the rounds go on to the end: what is still empty then is code that nothing reaches.
"""

from __future__ import annotations

from auditor.project.callables import CallResult, Calls
from auditor.project.infer import Inference
from auditor.project.symbols import FunctionNode, Symbols
from auditor.project.types import TOP
from auditor.project.world import World

MAX_ROUNDS = 40  # a state that still moves then is widened: what moved becomes unknown


class Linked:
    """The finished stratum: the world and, for each function, the result of each of its calls by operation."""

    def __init__(self, symbols: Symbols) -> None:
        self.symbols = symbols
        self.world = World(symbols)
        self.calls = Calls(self.world)
        self.results: dict[FunctionNode, dict[int, CallResult]] = {}
        self.rounds = 0
        self.runs = 0
        functions = list(symbols.functions())
        stale = self._settle(functions)
        for function in functions:
            self._open_parameters(function)
        stale = self.world.advance()
        self._settle(stale)
        self.world.reader = None

    def _settle(self, stale: list[FunctionNode]) -> list[FunctionNode]:
        while stale:
            self.rounds += 1
            for function in stale:
                self.results[function] = self.run(function).results
            if self.rounds > MAX_ROUNDS:
                self.world.added = dict.fromkeys(self.world.added, TOP)
            stale = self.world.advance()
        return stale

    def run(self, function: FunctionNode) -> Inference:
        """One run over a function against the present state."""
        self.runs += 1
        self.world.reader = function
        inference = Inference(function, self.world, self.calls)
        inference.run()
        return inference

    def _open_parameters(self, function: FunctionNode) -> None:
        """Parameters without annotation that nothing was passed to: their callers are outside."""
        for param in function.header.params:
            if param.annotation is None and param.kind in ("positional", "normal", "keyword"):
                if ("param", function, param.name) not in self.world.state:
                    self.world.add("param", function, param.name, TOP)
