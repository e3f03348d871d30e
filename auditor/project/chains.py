"""Shortest chains from a root to what it reaches, over the call graph.

`Reach` answers for a set of marked operations ("this call blocks"): which nodes come to one of them synchronously, and by
which shortest chain. Distances are computed once, backwards from the marks; chains are read off afterwards, ties by path,
line and column, so that the same program always gets the same proof.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from auditor.project.graph import Graph, Node, Run

Mark = TypeVar("Mark")


class Hop(NamedTuple):
    """One call of a chain: operation `op` of `node` runs the next node, or is the mark itself (`run` None)."""

    node: Node
    op: int
    run: Run | None


class Reach:
    """Nodes that come to a mark. `marks(node)` gives the marked operations of a node, in order; `passes(node, run)` says
    whether an edge is followed."""

    def __init__(
        self, graph: Graph, roots: Iterable[Node], marks: Callable[[Node], tuple[int, ...]], passes: Callable[[Node, Run], bool]
    ) -> None:
        self.graph = graph
        self.marks = marks
        self.passes = passes
        self.distance: dict[Node, int] = {}
        backward: dict[Node, list[Node]] = {}
        seen: set[Node] = set(roots)
        pending = sorted(seen, key=lambda n: n.order)
        marked: list[Node] = []
        while pending:
            node = pending.pop()
            if marks(node):
                marked.append(node)
            for run in graph.runs(node):
                if passes(node, run):
                    backward.setdefault(run.target, []).append(node)
                    if run.target not in seen:
                        seen.add(run.target)
                        pending.append(run.target)
        queue = deque(marked)
        self.distance = dict.fromkeys(marked, 0)
        while queue:
            node = queue.popleft()
            for caller in backward.get(node, ()):
                if caller not in self.distance:
                    self.distance[caller] = self.distance[node] + 1
                    queue.append(caller)

    def through(self, node: Node, run: Run) -> int | None:
        """Length of the chain that begins with this edge, None if it comes to no mark."""
        below = self.distance.get(run.target)
        return None if below is None or not self.passes(node, run) else below + 1

    def doubtful(self, run: Run) -> bool:
        """Whether the edge rests on more than types: the callee is known in part, or another class of the receiver would
        not come to a mark."""
        return run.unsure or any(node not in self.distance for node in run.choices)

    def chain(self, node: Node, run: Run) -> list[Hop]:
        """The shortest chain that begins with this edge, its last hop the mark."""
        hops = [Hop(node, run.op, run)]
        current = run.target
        while self.distance[current] > 0:
            best = min(
                (r for r in self.graph.runs(current) if self.passes(current, r) and r.target in self.distance),
                key=lambda r: (self.distance[r.target], self.doubtful(r), r.op, r.target.order),
            )
            hops.append(Hop(current, best.op, best))
            current = best.target
        hops.append(Hop(current, self.marks(current)[0], None))
        return hops
