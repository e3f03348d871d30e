"""Stratum 4: the one fixpoint. Summaries of functions, bottom-up over the strongly connected components of a call graph.

A chapter brings the transfer function and the lattice; it does not bring scopes, control flow, a call graph or a loop. The
result is the least fixpoint: inside a component the rounds are synchronous (all reads see the round before), so that no
order can be seen in it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import TypeVar

N = TypeVar("N", bound=Hashable)
V = TypeVar("V")

MAX_ROUNDS = 50  # of one component; a value that still moves then becomes `top`


def components(roots: Iterable[N], successors: Callable[[N], Iterable[N]]) -> list[list[N]]:
    """Strongly connected components of what the roots reach, callees before callers (Tarjan, without recursion)."""
    number: dict[N, int] = {}
    low: dict[N, int] = {}
    stack: list[N] = []
    open_: set[N] = set()
    found: list[list[N]] = []
    for root in roots:
        if root in number:
            continue
        number[root] = low[root] = len(number)
        stack.append(root)
        open_.add(root)
        work = [(root, iter(successors(root)))]
        while work:
            node, rest = work[-1]
            target = next(rest, None)
            if target is not None:
                if target not in number:
                    number[target] = low[target] = len(number)
                    stack.append(target)
                    open_.add(target)
                    work.append((target, iter(successors(target))))
                elif target in open_:
                    low[node] = min(low[node], number[target])
                continue
            work.pop()
            if work:
                low[work[-1][0]] = min(low[work[-1][0]], low[node])
            if low[node] == number[node]:
                component: list[N] = []
                while True:
                    member = stack.pop()
                    open_.discard(member)
                    component.append(member)
                    if member == node:
                        break
                found.append(component[::-1])
    return found


def deepest_first(root: N, successors: Callable[[N], Iterable[N]], done: Callable[[N], bool]) -> Iterator[N]:
    """What the root leads to and is not done yet, each after all that it leads to, the root last: what is remembered for one of
    them can then be computed from what is remembered, without recursion. In a ring the one that was entered first comes last;
    the others find nothing remembered for it."""
    if done(root):
        return
    entered = {root}
    work = [(root, iter(successors(root)))]
    while work:
        node, rest = work[-1]
        target = next((t for t in rest if t not in entered and not done(t)), None)
        if target is None:
            work.pop()
            yield node
        else:
            entered.add(target)
            work.append((target, iter(successors(target))))


def summaries(
    roots: Iterable[N],
    successors: Callable[[N], Iterable[N]],
    transfer: Callable[[N, Callable[[N], V]], V],
    bottom: V,
    top: V,
) -> Mapping[N, V]:
    """The summary of every node that the roots reach. `transfer(node, summary_of)` gives the value of a node from those
    of its callees; `bottom` is the value before the first round, `top` says nothing."""
    values: dict[N, V] = {}

    def known(node: N) -> V:
        return values.get(node, bottom)

    for component in components(roots, successors):
        single = len(component) == 1 and component[0] not in set(successors(component[0]))
        for _ in range(1 if single else MAX_ROUNDS):
            updated = {node: transfer(node, known) for node in component}
            if all(updated[node] == values.get(node, bottom) for node in component) and all(
                n in values for n in component
            ):
                break
            values.update(updated)
        else:
            if not single:
                values.update(dict.fromkeys(component, top))
    return values
