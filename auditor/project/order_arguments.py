"""The arguments of order calls: which operand is the amount, the price, the symbol; and where the client order id comes from.

Of a library the model says where an argument stands, of the project's own functions the names of their parameters do. The
id is followed from the call that the venue gets back to where it is made, through parameters, locals, dicts and formats.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from auditor.facts.model import (
    NONE,
    Await,
    Binary,
    Bool,
    Call,
    Choose,
    Collect,
    Const,
    Format,
    Place,
    Root,
    Select,
    Store,
    Table,
)  # fmt: skip
from auditor.project.exchange import Site, Way
from auditor.project.flow import writes
from auditor.project.symbols import FunctionNode

if TYPE_CHECKING:
    from auditor.project.project import Project

ABSENT, GIVEN, MADE, PARAMETER, UNDECIDED = "absent", "given", "made", "parameter", "undecided"
SLOTS: Mapping[str, re.Pattern[str]] = {
    "amount": re.compile(r"(?:order_|base_|trade_)?(?:amount|qty|quantity|size|volume|vol|contracts|shares|units)$"),
    "price": re.compile(r"(?:limit_|order_|trigger_|stop_)?(?:price|rate)$"),
    "symbol": re.compile(r"(?:symbol|pair|trading_pair|market|instrument|contract|ticker|vt_symbol|product_id|asset)$"),
    "side": re.compile(r"(?:order_)?(?:side|direction|trade_type|is_buy)$"),
    "id": re.compile(r"(?:\w*order_?id|id|oid|order|client_id|cloid|tracked\w*|current)$"),
}
CLIENT_ID = re.compile(
    r"(?i)(?:new|orig)?_?cl(?:ient|i)?_?(?:ord(?:er)?)?_?(?:o?id|oid)$|cloid$|order_?link_?id$|client_?order_?id$|idempotency_?key$|user_?ref$|client_?token$"
    r"|cl_?ord_?id$|client_?oid$|unique_?id$|ref(?:erence)?_?id$|custom(?:er)?_?id$|label$|tag$|external_?id$|nonce_?id$"
)
REQUEST = re.compile(r"(?:\w*_)?(?:order|request|req|intent|ticket|order_data|payload|plan)$")
PAYLOAD = re.compile(r"(?i)(?:orig|base|order|total)?_?(?:amount|qty|quantity|size|sz|volume|vol)$")
KEEPS = frozenset(
    {
        "str",
        "int",
        "repr",
        "format",
        "strip",
        "lower",
        "upper",
        "replace",
        "copy",
        "deepcopy",
        "dict",
        "encode",
        "decode",
        "cast",
    }
)
LIMIT = 40  # steps of one search
FOLLOWED = 2  # calls into which a dict is followed that a function builds


class Origin(NamedTuple):
    """Where a client id comes from. `state`: absent, given (before the first call of the way), made (at `site`, in the
    function of hop `level`), undecided."""

    state: str
    site: Site | None = None
    level: int = 0


class Arguments:
    """The answers for one project."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._ids: dict[tuple[Site, ...], Origin] = {}

    # --- slots ---
    def operand(self, way: Way, slot: str) -> int:
        """The operand of a slot at the first call of a way; NONE where it is not given there, or not known."""
        function, op = way.hops[0]
        call = function.body.ops[op]
        if not isinstance(call, Call):
            return NONE
        if len(way.hops) == 1 and way.venue is None:
            found, _ = self._by_words(function, call, way, slot)
            return found
        bound = bind(call, self._callee(way, 0), function)
        name = next((name for name in bound if SLOTS[slot].match(name)), "") if slot in SLOTS else ""
        return bound.get(name, NONE)

    def _callee(self, way: Way, level: int) -> FunctionNode | None:
        """What the call of a hop runs."""
        return way.hops[level + 1][0] if level + 1 < len(way.hops) else way.venue

    def _by_words(self, function: FunctionNode, call: Call, way: Way, slot: str) -> tuple[int, bool]:
        """The operand that the model's words for a slot name; and whether its absence is certain."""
        words = way.known.get(slot)
        if words is None:
            return NONE, False
        passed = _passed(call, way.handed)
        spread = [operand for name, operand in call.keywords if name == ""]
        sure = not call.starred
        for operand in spread:
            table = self._table(function, operand)
            if table is None:
                sure = False
            else:
                passed.update({name: value for name, value in table.items() if name not in passed})
        for word in words:
            container, _, key = str(word).partition(".")
            if container not in passed:
                continue
            if not key:
                return passed[container], True
            inner = self._table(function, passed[container])
            if inner is None:
                sure = sure and _is_none(function, passed[container])
            elif key in inner:
                return inner[key], True
            elif "" in inner:
                sure = False
        return NONE, sure

    def _table(self, function: FunctionNode, operand: int) -> dict[str, int] | None:
        """Key -> operand of a dict, or keyword -> operand of an object that is built, as far as this function tells; the key
        "" stands for what is not known. None where the operand is nothing of the kind."""
        body = function.body
        place = body.places[operand]
        if place.root not in (Root.LOCAL, Root.TEMP) or place.path:
            return {} if _is_none(function, operand) else None
        makers = [op for op in body.ops if operand in writes(op)]
        found: dict[str, int] = {}
        for maker in makers:
            if isinstance(maker, Store):
                inner = self._table(function, maker.src)
                if inner is None:
                    return None
                found.update(inner)
            elif isinstance(maker, Table):
                for key, value in zip(maker.keys, maker.values, strict=True):
                    text = body.places[key].name if key != NONE else None
                    if key == NONE:
                        found.update(self._table(function, value) or {"": value})
                    else:
                        found[text.text if isinstance(text, Const) else ""] = value
            elif isinstance(maker, Call):
                if not maker.keywords or any(name == "" for name, _ in maker.keywords):
                    return None
                found.update(dict(maker.keywords))
            else:
                return None
        if not makers:
            return None
        found.update(self._stored(function, place))
        return found

    @staticmethod
    def _stored(function: FunctionNode, place: Place) -> Iterator[tuple[str, int]]:
        """`params["clientOrderId"] = value`."""
        body = function.body
        for op in body.ops:
            if isinstance(op, Store):
                target = body.places[op.dst]
                if target.root is place.root and target.name == place.name and len(target.path) == 1:
                    kind, value = target.path[0]
                    text = value.text if isinstance(value, Const) else str(value) if kind is Select.ATTR else ""
                    yield text, op.src

    # --- the client id ---
    def client_id(self, way: Way) -> Origin:
        """Where the client id of an order comes from."""
        known = self._ids.get(way.hops)
        if known is None:
            known = self._ids[way.hops] = self._client_id(way)
        return known

    def _client_id(self, way: Way) -> Origin:
        function, op = way.last
        level = len(way.hops) - 1
        call = function.body.ops[op]
        if not isinstance(call, Call):
            return Origin(UNDECIDED)
        if way.venue is None:
            operand, sure = self._by_words(function, call, way, "client_id")
            if operand == NONE:
                return self._in_parameters(way, level, sure)
        else:
            bound = bind(call, way.venue, function)
            names = [p.name for p in way.venue.header.params]
            name = next((n for n in names if CLIENT_ID.match(n) or n in ("order_id", "client_id", "cid")), "")
            name = name or next((n for n in names if REQUEST.match(n) and n != way.venue.self_name), "")
            if not name:
                return self._inside(way.venue, level + 1)
            operand = bound.get(name, NONE)
            if operand == NONE:
                return Origin(UNDECIDED)
        return self._up(way, level, operand)

    def _up(self, way: Way, level: int, operand: int) -> Origin:
        """The origin of an operand of hop `level`, through the parameters of the functions above it."""
        while True:
            function, op = way.hops[level]
            state, where = self._trace(function, op, operand, LIMIT)
            if state != PARAMETER:
                return Origin(state, (function, where) if state == MADE else None, level)
            if level == 0:
                return Origin(GIVEN)
            caller, call_op = way.hops[level - 1]
            call = caller.body.ops[call_op]
            name = str(function.body.places[where].name)
            bound = bind(call, function, caller) if isinstance(call, Call) else {}
            if name not in bound:
                if isinstance(call, Call) and (call.starred or any(k == "" for k, _ in call.keywords)):
                    return Origin(UNDECIDED)
                param = next((p for p in function.header.params if p.name == name), None)
                none = param is not None and param.default is not None and param.default.kind == "none"
                return Origin(ABSENT if none else UNDECIDED)
            level, operand = level - 1, bound[name]

    def _in_parameters(self, way: Way, level: int, sure: bool) -> Origin:
        """No id is passed by name. It may stand in a dict that a caller fills, or that another function builds."""
        function, op = way.hops[level]
        call = function.body.ops[op]
        passed = _passed(call, way.handed) if isinstance(call, Call) else {}
        words = [str(word).partition(".") for word in way.known.get("client_id", ())]
        keys = {key for _, dot, key in words if dot}
        for container in dict.fromkeys(c for c, dot, _ in words if dot):
            if container in passed:
                return self._container(way, level, passed[container], keys)
        if isinstance(call, Call):
            for name, operand in call.keywords:
                table = self._table(function, operand) if name == "" else None
                for container in dict.fromkeys(c for c, dot, _ in words if dot):
                    if table is not None and container in table:
                        return self._container(way, level, table[container], keys)
        return Origin(ABSENT if sure else UNDECIDED)

    def _container(self, way: Way, level: int, operand: int, keys: set[str]) -> Origin:
        function, op = way.hops[level]
        if _is_none(function, operand):
            return Origin(ABSENT)
        table = self._table(function, operand)
        if table is not None and "" not in table:
            found = next((table[key] for key in sorted(keys) if key in table), NONE)
            return Origin(ABSENT) if found == NONE else self._up(way, level, found)
        state, where = self._trace(function, op, operand, LIMIT)
        if state == PARAMETER and level > 0:
            caller, call_op = way.hops[level - 1]
            call = caller.body.ops[call_op]
            name = str(function.body.places[where].name)
            bound = bind(call, function, caller) if isinstance(call, Call) else {}
            if name in bound:
                return self._container(way, level - 1, bound[name], keys)
            param = next((p for p in function.header.params if p.name == name), None)
            if param is not None and param.has_default and isinstance(call, Call) and not call.starred:
                return Origin(ABSENT)
        if state == MADE and isinstance(function.body.ops[where], Call):
            mentions = self._mentions(function, where, keys, FOLLOWED)
            return Origin(ABSENT) if mentions is False else Origin(UNDECIDED)
        return Origin(UNDECIDED)

    def _mentions(self, function: FunctionNode, op: int, keys: set[str], depth: int) -> bool | None:
        """Whether what a call runs knows one of the keys; None if not all of it can be seen."""
        result = self.project.calls(function).get(op)
        targets = [t.function for t in result.targets if not t.wrapper] if result is not None else []
        if not targets or result is None or result.externals:
            return None
        sure = True
        for target in dict.fromkeys(targets):
            texts = {p.name.text for p in target.body.places if isinstance(p.name, Const) and p.name.kind == "str"}
            texts |= {v.text for p in target.body.places for _, v in p.path if isinstance(v, Const)}
            if texts & keys or any(CLIENT_ID.match(t) for t in texts):
                return True
            for inner, known in self.project.calls(target).items():
                if known.targets:
                    below = self._mentions(target, inner, keys, depth - 1) if depth else None
                    if below:
                        return True
                    sure = sure and below is False
        return False if sure or depth < FOLLOWED else None

    def _inside(self, venue: FunctionNode, level: int) -> Origin:
        """The id of a client whose method takes none: it makes one, or sends none."""
        texts = {p.name.text for p in venue.body.places if isinstance(p.name, Const) and p.name.kind == "str"}
        texts |= {v.text for p in venue.body.places for _, v in p.path if isinstance(v, Const)}
        texts |= {name for op in venue.body.ops if isinstance(op, Call) for name, _ in op.keywords}
        if any(CLIENT_ID.match(text) for text in texts):
            return Origin(MADE, (venue, 0), level)
        return Origin(ABSENT) if any(PAYLOAD.match(text) for text in texts) else Origin(UNDECIDED)

    def _trace(self, function: FunctionNode, before: int, operand: int, fuel: int) -> tuple[str, int]:
        """Where a value of a function comes from: (state, operation or parameter)."""
        body = function.body
        place = body.places[operand]
        if isinstance(place.name, Const):
            return (ABSENT if place.name.kind == "none" else GIVEN), NONE
        if place.root in (Root.CELL, Root.GLOBAL) or place.name == function.self_name and function.self_name:
            return GIVEN, NONE
        params = {p.name for p in function.header.params}
        whole = next(
            (i for i, p in enumerate(body.places) if p.root is place.root and p.name == place.name and not p.path),
            operand,
        )
        makers = [rank for rank, op in enumerate(body.ops) if whole in writes(op)]
        if place.path:
            exact = [rank for rank, op in enumerate(body.ops) if operand in writes(op)]
            makers = exact or makers
        ends: list[tuple[str, int]] = (
            [(PARAMETER, operand)] if place.root is Root.LOCAL and place.name in params else []
        )
        for rank in makers:
            if fuel <= 0:
                return UNDECIDED, NONE
            ends.append(self._made(function, rank, fuel - 5))
        return _either(ends)

    def _made(self, function: FunctionNode, rank: int, fuel: int) -> tuple[str, int]:
        body = function.body
        match body.ops[rank]:
            case Store(_, src) | Await(_, src):
                return self._trace(function, rank, src, fuel)
            case Choose(_, _, then, other):
                return _either([self._trace(function, rank, x, fuel) for x in (then, other)])
            case Bool(_, _, left, right):
                return _either([self._trace(function, rank, x, fuel) for x in (left, right)])
            case Format(_, parts):
                kinds = [p for p in parts if not _is_spec(body.places[p])]
                return _all([self._trace(function, rank, x, fuel) for x in kinds], rank)
            case Binary(_, _, left, right, _):
                return _all([self._trace(function, rank, x, fuel) for x in (left, right)], rank)
            case Collect(_, _, items, _):
                return _all([self._trace(function, rank, x, fuel) for x in items], rank)
            case Call(_, callee, args, _, _) if _name_of(body.places[callee]) in KEEPS:
                owner = body.places[callee]
                inner = [self._trace(function, rank, x, fuel) for x in args]
                if owner.path and owner.root is not Root.GLOBAL:
                    whole = [
                        i
                        for i, p in enumerate(body.places)
                        if p.root is owner.root and p.name == owner.name and not p.path
                    ]
                    inner += [self._trace(function, rank, i, fuel) for i in whole]
                return _all(inner, rank)
            case Table() | Call():
                return MADE, rank
            case _:
                return UNDECIDED, NONE


def bind(call: Call, target: FunctionNode | None, caller: FunctionNode) -> dict[str, int]:
    """Parameter -> operand of a call of a project function."""
    if target is None:
        return {}
    params = [p.name for p in target.header.params if p.kind in ("positional", "normal")]
    place = caller.body.places[call.callee]
    if target.self_name and place.path:
        params = params[1:]
    found: dict[str, int] = {}
    for rank, operand in enumerate(call.args):
        if rank in call.starred or rank >= len(params):
            break
        found[params[rank]] = operand
    found.update({name: operand for name, operand in call.keywords if name})
    return found


def _passed(call: Call, handed: bool) -> dict[str, int]:
    """Position as text, or keyword -> operand. Where the function is an argument, its own come after it."""
    args: Iterable[int] = call.args
    if handed:
        args = call.args[1:]
    found = {str(rank): operand for rank, operand in enumerate(args) if rank not in call.starred}
    found.update({name: operand for name, operand in call.keywords if name})
    return found


def _either(ends: list[tuple[str, int]]) -> tuple[str, int]:
    """One of several values: what all of them say."""
    states = {state for state, _ in ends}
    if len(states) == 1:
        return ends[0]
    return UNDECIDED, NONE


def _all(ends: list[tuple[str, int]], rank: int) -> tuple[str, int]:
    """A value that is put together: it is new if one of its parts is."""
    for wanted in (UNDECIDED, MADE, PARAMETER):
        for state, where in ends:
            if state == wanted:
                return state, rank if state == MADE else where
    return GIVEN, NONE


def _is_none(function: FunctionNode, operand: int) -> bool:
    name = function.body.places[operand].name
    return isinstance(name, Const) and name.kind == "none"


def _is_spec(place: Place) -> bool:
    return isinstance(place.name, Const) and place.name.kind == "spec"


def _name_of(place: Place) -> str:
    return str(place.path[-1].value) if place.path else str(place.name)
