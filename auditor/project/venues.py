"""The project's own clients, recognised by their shape: classes that place and cancel orders and come to a network call.

A method is the last one that knows of the order: what it calls below is plumbing that carries any request. So of several
classes one above the other, each with `place` and `cancel`, the deepest is the client and the others are around it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from auditor.project.models import Model
from auditor.project.protocols import is_declared
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.tasks import of_tests

if TYPE_CHECKING:
    from auditor.project.project import Project

WIRE = "wire"
KIND = r"(?:\w+_)?"
NAMES: Mapping[str, re.Pattern[str]] = {
    "place": re.compile(
        rf"_*(?:(?:place|create|submit|send|new|insert|execute)_{KIND}(?<!cancel_)(?:orders?|stoploss)$|place$|submit$|(?:market|limit)_(?:order|buy|sell)$"
        r"|(?:place|newOrder|placeOrder|sendOrder|createOrder|submitOrder)$|(?:buy|sell)(?:_market|_limit|_with_specific_market)?$)"
    ),
    "edit": re.compile(rf"_*(?:(?:edit|amend|modify|replace)_{KIND}orders?$|(?:edit|amend|modify)Order$)"),
    "cancel": re.compile(
        rf"_*(?:cancel_{KIND}orders?(?:_\w+)?$|cancel$|cancel_all(?:_\w+)?$|(?:place|execute)_(?:\w+_)?cancel$|(?:delete|revoke)_{KIND}orders?$|cancelOrder$"
        r"|cancel_stoploss\w*$)"
    ),
    "reads_order": re.compile(
        rf"_*(?:(?:get|fetch|query|request|read)_{KIND}orders?(?:_(?:status|state|info|by_\w+|update))?$|order$|order_(?:status|state)$"
        rf"|(?:get|fetch|query)_{KIND}(?:trades|fills)$)"
    ),
    "reads_open": re.compile(rf"_*(?:(?:get|fetch|query|list|read)_{KIND}open_orders?$|open_orders$)"),
    "reads_balance": re.compile(
        rf"_*(?:(?:get|fetch|update|query|read)_{KIND}(?:balances?|positions?|account)(?:_\w+)?$|balances?$|positions?$)"
    ),
}
# Functions that bear one of these names and come to the verb inherit it, though not on every path: what they do is that.
AROUND: Mapping[str, re.Pattern[str]] = {
    "place": re.compile(
        r"_*(?:(?:buy|sell)_\w+|execute_(?:entry|exit|trade\w*|buy|sell)|(?:open|close|enter|exit|flatten|liquidate)_?(?:position|trade|long|short|market)s?|emergency_\w+"
        r"|(?:create|place|send|submit)_\w*(?:stoploss|stop|exit|entry|bracket)\w*)$"
    ),
    "cancel": re.compile(
        r"_*(?:handle_|try_|do_|safe_|force_|execute_|attempt_|process_)?cancel(?:_(?!event|token|task|scope|reason)\w+)?$"
    ),
}
# Parts of a name that say that something about an order is meant, not the order itself.
ABOUT = re.compile(r"book|update|event|message|_id$|response|history|param|proposal|candidate|track|request$|cancel")
MAKES = re.compile(r"_*(?:create|new)(?:_|[A-Z])")
SENDS = re.compile(r"_*(?:submit|place|send)_(?:\w+_)?orders?$|(?:submit|place|send)Order$")
CLEAR = ("place", "cancel")  # a client has both
FAR = 10  # calls between a method of a client and the network
NEAR = 4  # calls between a method of a client and one that is around it


class Venues:
    """The methods of the project's own clients. `callers` gives the calls that may run a function; `known` are functions
    that have a verb already, through a library."""

    def __init__(
        self,
        project: Project,
        callers: Callable[[FunctionNode], tuple[tuple[FunctionNode, int], ...]],
        model: Model,
        known: frozenset[FunctionNode],
    ) -> None:
        self.project = project
        self.callers = callers
        self.model = model
        self.known = known

    @cached_property
    def methods(self) -> tuple[tuple[FunctionNode, str], ...]:
        """Methods with their verbs, by path and place."""
        found: dict[FunctionNode, str] = {}
        around = self._above(sorted(self.known, key=lambda f: f.key))
        candidates = [
            cls
            for cls in self.project.symbols.classes()
            if not of_tests(cls.module.path) and _has_both(cls) and not self._around(cls)
        ]
        if not candidates:
            return ()
        for cls in candidates:
            for name, method in cls.methods.items():
                verb = _verb(name)
                if method in around or verb == "place" and _makes_only(cls, name):
                    continue
                if (
                    verb
                    and method in self._sending
                    and method not in self.known
                    and not is_declared(method)
                    and not method.header.abstract
                ):
                    found[method] = verb
        return tuple(sorted(self._deepest(found).items(), key=lambda item: item[0].key))

    def is_sure(self, method: FunctionNode) -> bool:
        """Whether the class says so by more than one method: it also reads orders or balances."""
        cls = method.cls
        return cls is not None and any(_verb(name).startswith("reads") for c in cls.mro for name in c.methods)

    def _around(self, cls: ClassNode) -> bool:
        """Whether a class has its verbs from a library's client."""
        return any(method in self.known for c in cls.mro for method in c.methods.values())

    @cached_property
    def _sending(self) -> frozenset[FunctionNode]:
        """Functions that come to a network call, over some calls."""
        pending: list[FunctionNode] = []
        for function in self.project.functions():
            if of_tests(function.path):
                continue
            for result in self.project.calls(function).values():
                if result.externals and any(
                    role.name == WIRE for path in result.externals for role in self.model.roles(path)
                ):
                    pending.append(function)
                    break
        return frozenset(self._above(pending, FAR))

    def _above(self, functions: list[FunctionNode], depth: int = 0) -> set[FunctionNode]:
        """The functions that come to one of these through calls, over `depth` of them (0: any number)."""
        seen = set(functions)
        pending, level = list(functions), 0
        while pending and (not depth or level < depth):
            pending = list(dict.fromkeys(f for target in pending for f, _ in self.callers(target) if f not in seen))
            seen.update(pending)
            level += 1
        return seen

    def _deepest(self, found: Mapping[FunctionNode, str]) -> dict[FunctionNode, str]:
        """Without the methods that come to another one with the same verb."""
        kept = dict(found)
        for verb in sorted(set(found.values())):
            same = [f for f, v in found.items() if v == verb]
            direct = {caller for f in same for caller, _ in self.callers(f) if caller is not f}
            above = self._above(sorted(direct, key=lambda f: f.key), NEAR)
            deepest = [f for f in same if f not in above]
            kept.update(dict.fromkeys(deepest, verb))
            for f in same:
                if f in above and deepest:
                    kept.pop(f, None)
        return kept


def _has_both(cls: ClassNode) -> bool:
    """Whether a class places and cancels."""
    verbs = {_verb(name) for c in cls.mro for name in c.methods}
    return verbs.issuperset(CLEAR)


def _makes_only(cls: ClassNode, name: str) -> bool:
    """Whether a `create_order` makes an order that another method of the class sends."""
    if not MAKES.match(name):
        return False
    return any(SENDS.match(other) and not ABOUT.search(other) for c in cls.mro for other in c.methods)


def _verb(name: str) -> str:
    """The verb that a method's name says, "" for none."""
    for verb, pattern in NAMES.items():
        if pattern.match(name) and not (verb in ("place", "edit") and ABOUT.search(name)):
            return verb
    return ""
