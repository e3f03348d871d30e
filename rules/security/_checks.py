"""Bytes whose digest was compared before they are used.

`Checks.of` answers with an origin `verified` where every way to an operation passes a comparison of a keyed digest of the same
bytes, or of a plain digest with a value that was fixed before; `checked` where such a comparison stands there, but the
other side is not known; None where there is none. A checksum that travels with the bytes proves nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from auditor.facts.model import (
    OPERATORS,
    Branch,
    Call,
    Compare,
    Const,
    Edge,
    Place,
    Return,
    Root,
    Store,
    Unary,
)
from auditor.project.symbols import FunctionNode

from ._flows import ENTRY, Flows, Site
from ._origin import Origin
from ._origins import Origins
from ._sameness import MAX_KEY, Key, Sameness, parameter_key

MAX_CALLS = 3  # helpers that are entered for a check
FIXED = frozenset({"literal", "environment", "argument", "configuration"})
REMOTE = frozenset({"network", "store", "local_store"})


class Digest(NamedTuple):
    """A digest as a value: what it covers, and the key of a keyed one (None: plain)."""

    covers: frozenset[Key]
    keyed: bool
    key: tuple[FunctionNode, int, Place] | None = None


class Checks:
    """Questions about comparisons of digests."""

    def __init__(self, flows: Flows, origins: Origins) -> None:
        self.flows = flows
        self.project = flows.project
        self.origins = origins
        self.same = Sameness(flows)
        self._interesting: dict[FunctionNode, bool] = {}
        self._proves: dict[FunctionNode, dict[str, tuple[bool, bool]]] = {}
        self._running: set[FunctionNode] = set()

    def of(self, function: FunctionNode, op: int, place: Place) -> Origin | None:
        """The check that stands before the place is read at `op`."""
        if not self._touches(function, MAX_CALLS):
            return None
        wanted = self.same.lineage(function, op, place, MAX_KEY)
        flow = self.project.flow(function)
        block = self.flows.block_of(function, op)
        best: Origin | None = None
        for branch, outcome in flow.guards(block):
            test = function.body.ops[branch]
            if not isinstance(test, Branch) or test.asserts:
                continue  # `python -O` leaves asserts out
            answer = self._compared(function, branch, function.body.places[test.test], outcome, wanted)
            if answer is not None and (best is None or answer.kind == "verified"):
                best = answer
        if best is None or best.kind != "verified":
            best = self._helpers(function, op, block, wanted) or best
        return best

    def _touches(self, function: FunctionNode, depth: int) -> bool:
        """Whether a function compares digests itself or through what it calls; a filter, not an answer."""
        known = self._interesting.get(function)
        if known is not None:
            return known
        self._interesting[function] = False  # while it is looked at
        found = False
        for op, result in self.project.calls(function).items():
            role = self.flows.role(function, op)
            found = role is not None and role.name in ("mac", "digest", "shows", "compares", "ensures")
            if found or depth and any(self._touches(t.function, depth - 1) for t in result.targets):
                found = True
                break
        self._interesting[function] = found
        return found

    # --- comparisons ---
    def _compared(
        self, function: FunctionNode, rank: int, test: Place, outcome: bool, wanted: frozenset[Key]
    ) -> Origin | None:
        """Whether a truth value with this outcome says that a digest of the wanted bytes is right."""
        made = self.same.definition(function, rank, test)
        if made is None or made == ENTRY:
            return None
        op = function.body.ops[made]
        places = function.body.places
        if isinstance(op, Unary) and OPERATORS[op.operator] == "not":
            return self._compared(function, made, places[op.operand], not outcome, wanted)
        if isinstance(op, Store):
            return self._compared(function, made, places[op.src], outcome, wanted)
        if isinstance(op, Compare) and OPERATORS[op.operator] in ("==", "!="):
            if (OPERATORS[op.operator] == "==") is outcome:
                return self._pair(function, made, places[op.left], places[op.right], wanted)
            return None
        if not isinstance(op, Call) or not outcome:
            return None
        role = self.flows.role(function, made)
        if role is not None and role.name == "compares" and len(op.args) >= 2:
            return self._pair(function, made, places[op.args[0]], places[op.args[1]], wanted)
        return self._helper(function, made, wanted, truth=True)

    def _pair(self, function: FunctionNode, rank: int, left: Place, right: Place, wanted: frozenset[Key]) -> Origin | None:
        for one, other in ((left, right), (right, left)):
            digest = self._digest(function, rank, one, MAX_CALLS)
            if digest is not None and digest.covers & wanted:
                trust = self._trust(function, rank, digest, other)
                if trust:
                    kind = "HMAC" if digest.keyed else "digest"
                    note = f"{function.name}() compares the {kind} of the bytes before it goes on"
                    step = self.project.step(function, rank, note, "compare")
                    return Origin("verified" if trust == "yes" else "checked", f"bytes whose {kind} is compared before", (step,))
        return None

    def _trust(self, function: FunctionNode, rank: int, digest: Digest, other: Place) -> str:
        """`yes`: the comparison proves who made the bytes; "" : it does not; `unknown`: the other side is not known."""
        if digest.keyed:
            if digest.key is None:
                return "unknown"
            kinds = {o.kind for o in self.origins.of(*digest.key)}
            return "" if kinds & REMOTE else "yes"
        kinds = {o.kind for o in self.origins.of(function, rank, other)}
        if kinds and kinds <= FIXED:
            return "yes"
        return "" if kinds & (REMOTE | {"file", "listing"}) else "unknown"

    # --- helpers that check ---
    def _helpers(self, function: FunctionNode, op: int, block: int, wanted: frozenset[Key]) -> Origin | None:
        """A call before `op`, on every way to it, of something that only returns if the bytes are right."""
        flow = self.project.flow(function)
        for rank in range(len(function.body.ops)):
            if not isinstance(function.body.ops[rank], Call):
                continue
            here = self.flows.block_of(function, rank)
            if not (rank < op if here == block else flow.dominates(here, block)):
                continue
            role = self.flows.role(function, rank)
            if role is not None and role.name == "ensures":
                place = self.flows.argument(function, rank, "data", int(role.attributes["data"]))
                if place is not None and self.same.content(function, rank, place) & wanted:
                    step = self.project.step(function, rank, f"the call {role.note}", "verify")
                    return Origin("verified", "bytes whose signature is verified before", (step,))
                continue
            found = self._helper(function, rank, wanted, truth=False)
            if found is not None:
                return found
        return None

    def _helper(self, function: FunctionNode, rank: int, wanted: frozenset[Key], truth: bool) -> Origin | None:
        result = self.project.calls(function).get(rank)
        targets = [t for t in result.targets if not t.wrapper] if result is not None else []
        if len(targets) != 1 or result is None or result.how != "typed":
            return None
        target = targets[0]
        for name, (raises, answers) in sorted(self._parameters(target.function).items()):
            if not (answers if truth else raises):
                continue
            place = self.flows.passed(Site(function, rank, target.bound), target.function, name)
            if isinstance(place, Place) and self.same.content(function, rank, place) & wanted:
                note = f"{target.function.name}() only lets bytes through whose digest is right"
                step = self.project.step(function, rank, note, target.function.name)
                return Origin("verified", f"bytes that {target.function.name}() has checked", (step,))
        return None

    def _parameters(self, function: FunctionNode) -> dict[str, tuple[bool, bool]]:
        """Parameters whose bytes are proven right when the function returns at all, and when it returns a true value."""
        known = self._proves.get(function)
        if known is not None:
            return known
        if function in self._running or not self._touches(function, MAX_CALLS):
            return {}
        self._running.add(function)
        found: dict[str, tuple[bool, bool]] = {}
        flow = self.project.flow(function)
        ends = [n for n in flow.order if any(kind is Edge.RETURN for kind, _ in function.body.blocks[n].edges)]
        for param in function.header.params:
            place = Place(Root.LOCAL, param.name)
            raises = bool(ends) and all(self._holds_at_end(function, n, place) for n in ends)
            answers = bool(ends) and all(self._answers_at_end(function, n, place) for n in ends)
            if raises or answers:
                found[param.name] = (raises, answers)
        self._running.discard(function)
        self._proves[function] = found
        return found

    def _holds_at_end(self, function: FunctionNode, number: int, place: Place) -> bool:
        block = function.body.blocks[number]
        is_empty = block.end == block.start
        found = self._in_block(function, number, place) if is_empty else self.of(function, block.end - 1, place)
        return found is not None and found.kind == "verified"

    def _in_block(self, function: FunctionNode, number: int, place: Place) -> Origin | None:
        """The check before an empty block: that of the guards on it."""
        wanted = frozenset({parameter_key(function, place.name), ("content", parameter_key(function, place.name))})
        for branch, outcome in self.project.flow(function).guards(number):
            test = function.body.ops[branch]
            if isinstance(test, Branch) and not test.asserts:
                found = self._compared(function, branch, function.body.places[test.test], outcome, wanted)
                if found is not None and found.kind == "verified":
                    return found
        return None

    def _answers_at_end(self, function: FunctionNode, number: int, place: Place) -> bool:
        """Whether the function ends here with a false value, or with a comparison of the bytes' digest."""
        block = function.body.blocks[number]
        last = function.body.ops[block.end - 1] if block.end > block.start else None
        if not isinstance(last, Return):
            return True  # an end without value gives None
        given = function.body.places[last.src]
        if isinstance(given.name, Const):
            return given.name.text in ("False", "None", "0", "") or self._holds_at_end(function, number, place)
        wanted = frozenset({parameter_key(function, place.name), ("content", parameter_key(function, place.name))})
        found = self._compared(function, block.end - 1, given, True, wanted)
        return found is not None and found.kind == "verified"

    # --- digests ---
    def _digest(self, function: FunctionNode, rank: int, place: Place, depth: int) -> Digest | None:
        """The digest that a value is, if it is one."""
        made = self.same.definition(function, rank, place)
        if made is None or made == ENTRY:
            return None
        op = function.body.ops[made]
        places = function.body.places
        if isinstance(op, Store):
            return self._digest(function, made, places[op.src], depth)
        if not isinstance(op, Call):
            return None
        role = self.flows.role(function, made)
        if role is None:
            return self._digest_of_helper(function, made, depth) if depth else None
        callee = places[op.callee]
        base = callee._replace(path=callee.path[:-1]) if callee.path else None
        if role.name == "shows" and base is not None:
            return self._hashed(function, made, base)
        if role.name == "mac" and role.attributes.get("shown"):
            return self._hash(function, made)
        if role.name == "passes" and role.attributes.get("whole") and op.args:
            return self._digest(function, made, places[op.args[0]], depth)
        return None

    def _hashed(self, function: FunctionNode, rank: int, place: Place) -> Digest | None:
        """The digest of a hash object: what it was made of, and what it was updated with."""
        made = self.same.definition(function, rank, place)
        if made is None or made == ENTRY:
            return None
        op = function.body.ops[made]
        if isinstance(op, Store):
            source = function.body.places[op.src]
            first = self._hashed(function, made, source)
            if first is None:
                return None
            more: set[Key] = set()
            for other, call in enumerate(function.body.ops[:rank]):
                if isinstance(call, Call) and call.args:
                    callee = function.body.places[call.callee]
                    if callee.path and callee.path[-1].value == "update" and callee._replace(path=callee.path[:-1]) == place:
                        more |= self.same.content(function, other, function.body.places[call.args[0]])
            return first._replace(covers=first.covers | frozenset(more))
        return self._hash(function, made) if isinstance(op, Call) else None

    def _hash(self, function: FunctionNode, rank: int) -> Digest | None:
        role = self.flows.role(function, rank)
        if role is None or role.name not in ("mac", "digest"):
            return None
        data = self.flows.argument(function, rank, "msg", int(role.attributes["data"])) or self.flows.argument(function, rank, "data", -1)
        covers = self.same.content(function, rank, data) if data is not None else frozenset()
        if role.name == "digest":
            return Digest(covers, False)
        key = self.flows.argument(function, rank, "key", int(role.attributes.get("key", -1)))
        return Digest(covers, True, (function, rank, key) if key is not None else None)

    def _digest_of_helper(self, function: FunctionNode, rank: int, depth: int) -> Digest | None:
        """The digest that a function of the project gives, in terms of what it was called with."""
        result = self.project.calls(function).get(rank)
        targets = [t for t in result.targets if not t.wrapper] if result is not None else []
        if len(targets) != 1:
            return None
        inner = targets[0].function
        returns = [r for r, op in enumerate(inner.body.ops) if isinstance(op, Return)]
        digests = [self._digest(inner, r, inner.body.places[inner.body.ops[r].src], depth - 1) for r in returns]  # type: ignore[union-attr]  # a Return
        if len(digests) != 1 or digests[0] is None:
            return None
        covers: set[Key] = set()
        for param in inner.header.params:
            key = parameter_key(inner, param.name)
            place = self.flows.passed(Site(function, rank, targets[0].bound), inner, param.name)
            if not isinstance(place, Place):
                continue
            if key in digests[0].covers:
                covers |= self.same.content(function, rank, place)
            if ("content", key) in digests[0].covers:
                covers.add(("content", self.same.key(function, rank, place, MAX_KEY)))
        return digests[0]._replace(covers=frozenset(covers))
