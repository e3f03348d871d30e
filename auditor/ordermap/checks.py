"""What guards a path: each check with its answer - proven, absent, undecided, or not needed - and the place that shows it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from auditor.facts.model import NONE, Await, Branch, Call, Compare, Const, Raise, Root, Select, Store
from auditor.ordermap.paths import Path
from auditor.project.exchange import CANCEL, MODEL, PLACE, READS_ORDER, Site
from auditor.project.flow import reads, writes
from auditor.project.graph import last_name
from auditor.project.order_arguments import ABSENT as NO_ID
from auditor.project.order_arguments import GIVEN, MADE
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode

PROVEN, ABSENT, UNDECIDED, NEEDLESS = "proven", "absent", "undecided", "not needed"
RISK = re.compile(
    r"(?i)(risk|admit|exceed|budget|afford|exposure|balance|notional|stake|leverage|margin|drawdown|pre_?trade|capital"
    r"|amount|size|qty|quantity|max_open|max_position|open_trades|order_limit|position_limit|min_order|max_order|equity|may_open|can_open)"
)
CHECKED = re.compile(r"(?i)(valid|check|limit|allow|can_|may_|enough|protection|available|tradable|is_lock|risk|admit)")
ROUNDS = re.compile(
    r"(?i)(quantize|to_precision|round_step|(floor|ceil|round)_to|round_(amount|price|size|qty|quantity)|_precision$|step_size|to_step|apply_lot)"
)
PACES = re.compile(
    r"(?i)(throttl|rate_?limit|limiter|acquire|semaphore|pacer|pace_|token_bucket|wait_for_permit|execute_task)"
)
SWITCH = re.compile(
    r"(?i)(dry_?run|paper|simulat|sandbox|test_?net|is_live|live_mode|enabled|halt|kill|paused?$|trading_allowed|shut_?down|circuit|breaker|read_only"
    r"|stop_?(trading|requested|event)|maintenance|no_trading|trading_?mode|dry$)"
)
INSIDE = 1  # calls below a test that are looked into for a switch
BELOW = 6  # calls between a client's method and the request that it sends


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of one check on one path; `place` is (path, line), None where nothing stands for it."""

    status: str
    note: str
    place: tuple[str, int] | None = None


class Checks:
    """The checks of one project, in the order of the table."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.exchange = project.exchange
        self.all: Mapping[str, Callable[[Path], Answer]] = {
            "risk": self.risk, "rounding": self.rounding, "client-id": self.client_id, "timeout": self.timeout,
            "outcome": self.outcome, "rate-limit": self.rate_limit, "switch": self.switch,
        }  # fmt: skip

    def of(self, path: Path) -> dict[str, Answer]:
        """All answers for a path."""
        return {name: check(path) for name, check in self.all.items()}

    # --- risk and size ---
    def risk(self, path: Path) -> Answer:
        if path.way.verb == CANCEL:
            return Answer(NEEDLESS, "a cancel adds no risk")
        for function, op in path.way.hops:
            found = self._guard(function, op, self._is_risk_test)
            if found is not None:
                return Answer(PROVEN, "a check of risk or size decides whether it is reached", found)
        for function, op in path.way.hops:
            found = self._guard(function, op, self._is_check) or self._call_before(function, op, CHECKED, RISK)
            if found is not None:
                return Answer(
                    UNDECIDED, "a check stands before it; whether it is one of risk or size is not decided", found
                )
        return Answer(ABSENT, "no check of risk or size on this path")

    def _is_risk_test(self, function: FunctionNode, branch: int) -> bool:
        return any(RISK.search(name) for name, _ in self._test_names(function, branch))

    def _is_check(self, function: FunctionNode, branch: int) -> bool:
        return any(CHECKED.search(name) for name, called in self._test_names(function, branch) if called)

    # --- rounding ---
    def rounding(self, path: Path) -> Answer:
        if path.way.verb == CANCEL:
            return Answer(NEEDLESS, "a cancel has no amount")
        model = self.project.models.model(MODEL)
        for function, op in path.way.hops:
            flow = self.project.flow(function)
            for rank, result in sorted(self.project.calls(function).items()):
                call = function.body.ops[rank]
                if rank == op or not isinstance(call, Call) or not self._before(function, rank, op):
                    continue
                known = any(
                    r.name == "rounds" and p != "builtins.int" for p in result.externals for r in model.roles(p)
                )
                if known or ROUNDS.search(last_name(function, call)):
                    sure = flow.dominates(flow.block_of(rank), flow.block_of(op))
                    note = "rounded to a step before it is sent" if sure else "rounded on some ways to it"
                    return Answer(PROVEN if sure else UNDECIDED, note, self._place((function, rank)))
        if path.way.known.get("rounded"):
            return Answer(UNDECIDED, str(path.way.known["rounded"]), self._place(path.way.last))
        venue = path.way.venue
        if venue is not None and any(
            isinstance(o, Call) and ROUNDS.search(last_name(venue, o)) for o in venue.body.ops
        ):
            return Answer(PROVEN, "the client rounds while it builds the request", self._at(venue))
        beside = next((place for site in path.way.hops if (place := self._rounded_by(*site)) is not None), None)
        if beside is not None:
            return Answer(
                UNDECIDED, "what is called before it rounds; whether that is what is sent is not decided", beside
            )
        if not self._is_made_here(path):
            return Answer(UNDECIDED, "the amount is made off this path", self._place(path.way.hops[0]))
        return Answer(ABSENT, "nothing rounds amount or price on this path")

    def _rounded_by(self, function: FunctionNode, op: int) -> tuple[str, int] | None:
        """A call before another one of a function that rounds something itself."""
        for rank, result in sorted(self.project.calls(function).items()):
            if rank == op or not self._before(function, rank, op):
                continue
            for target in dict.fromkeys(t.function for t in result.targets[:2]):
                if any(isinstance(o, Call) and ROUNDS.search(last_name(target, o)) for o in target.body.ops):
                    return self._place((function, rank))
        return None

    def _is_made_here(self, path: Path) -> bool:
        """Whether the amount is a local value of a function on the path, not a field of an object that comes from elsewhere."""
        for level in range(len(path.way.hops) - 1, -1, -1):
            inner = path.way._replace(hops=path.way.hops[level:])
            function, op = inner.hops[0]
            operand = self.project.arguments.operand(inner, "amount")
            if operand == NONE:
                continue
            names = [function.body.places[x] for x in self._parts(function, operand, op)]
            params = {p.name for p in function.header.params}
            if any(place.path or place.root not in (Root.LOCAL, Root.CONST) for place in names):
                return False
            if not any(place.name in params for place in names):
                return True
        return False

    @staticmethod
    def _parts(function: FunctionNode, operand: int, before: int) -> set[int]:
        """The places that a value is put together from, through temporaries."""
        body = function.body
        found: set[int] = set()
        pending, seen = [operand], {operand}
        while pending:
            current = pending.pop()
            if body.places[current].root is not Root.TEMP:
                found.add(current)
                continue
            maker = next((o for o in reversed(body.ops[:before]) if current in writes(o)), None)
            more = [x for x in reads(maker) if x not in seen] if maker is not None else []
            pending.extend(more)
            seen.update(more)
        return found

    # --- client id ---
    def client_id(self, path: Path) -> Answer:
        if path.way.verb != PLACE:
            return Answer(NEEDLESS, "it names an order that exists")
        if path.way.known.get("queued"):
            return Answer(PROVEN, "the framework makes the client id", self._place(path.way.last))
        origin = self.project.arguments.client_id(path.way)
        if origin.state == MADE and origin.site is not None:
            return Answer(PROVEN, "the client id is made here", self._place(origin.site))
        if origin.state == GIVEN:
            return Answer(
                PROVEN, "a client id is passed", self._place(path.way.hops[min(origin.level, len(path.way.hops) - 1)])
            )
        if origin.state == NO_ID:
            return Answer(ABSENT, "no client id is sent", self._place(path.way.last))
        return Answer(UNDECIDED, "where the client id comes from is not decided", self._place(path.way.last))

    # --- timeout ---
    def timeout(self, path: Path) -> Answer:
        for function, op in path.way.hops:
            if self.project.outcomes.waited(function, op):
                return Answer(PROVEN, "it is waited for with a limit", self._place((function, op)))
        if path.way.known.get("timeout"):
            return Answer(PROVEN, f"the client's own limit: {path.way.known['timeout']} s", self._place(path.way.last))
        if path.way.venue is None:
            return Answer(UNDECIDED, "the limit of the client is not known", self._place(path.way.last))
        sent = self.exchange.requests(path.way.venue)
        for function, op in sent:
            call = function.body.ops[op]
            if (
                isinstance(call, Call)
                and any(name == "timeout" for name, _ in call.keywords)
                or self.project.outcomes.waited(function, op)
            ):
                return Answer(PROVEN, "the request has a limit", self._place((function, op)))
        folders = {function.path.rpartition("/")[0] for function, _ in sent}
        limit = next((place for place in self._session_limits if place[0].rpartition("/")[0] in folders), None)
        if limit is not None:
            return Answer(PROVEN, "the session has a limit", limit)
        if any(self._path_of(site).startswith("requests.") for site in sent):
            site = next(site for site in sent if self._path_of(site).startswith("requests."))
            return Answer(ABSENT, "requests waits for ever", self._place(site))
        return Answer(
            UNDECIDED,
            "no limit is seen; that of the library holds",
            self._place(sent[0]) if sent else self._at(path.way.venue),
        )

    @cached_property
    def _session_limits(self) -> tuple[tuple[str, int], ...]:
        """Where sessions or clients are built with a limit of time."""
        return tuple(
            self._place((function, op))
            for function in self.project.functions()
            for op, result in sorted(self.project.calls(function).items())
            if isinstance(function.body.ops[op], Call)
            and any(p.endswith((".ClientTimeout", "httpx.Timeout")) for p in result.externals)
        )

    def _path_of(self, site: Site) -> str:
        return next(iter(self.project.calls(site[0])[site[1]].externals), "")

    # --- outcome ---
    def outcome(self, path: Path) -> Answer:
        for level in range(len(path.way.hops) - 1, -1, -1):
            function, op = path.way.hops[level]
            inner = path.way._replace(hops=path.way.hops[level:])
            for handler in self.project.outcomes.handlers(function, op, inner):
                if not handler.unknown:
                    continue
                own = self.project.flow(function).block_of(op)
                came = self._onward(function, handler.block, own)
                asked = sorted((came - {own}) & self._asks(function))
                if asked:
                    rank = function.body.blocks[asked[0]].start
                    return Answer(PROVEN, "after an unknown outcome the venue is asked", self._place((function, rank)))
                if any(
                    isinstance(function.body.ops[function.body.blocks[n].end - 1], Raise)
                    for n in came
                    if self._filled(function, n)
                ):
                    continue  # it goes on to the caller
                if handler.whole:
                    return Answer(
                        ABSENT,
                        f"{handler.name or 'a handler'} takes an unknown outcome and asks nobody",
                        self._place((function, handler.op)),
                    )
        reads = next(
            iter(
                sorted(self.exchange.sites(READS_ORDER, "reads_open"), key=lambda s: (-len(s[2].hops), s[0].key, s[1]))
            ),
            None,
        )
        if reads is not None:
            return Answer(UNDECIDED, "nothing on the path takes it; orders are read elsewhere", self._place(reads[:2]))
        return Answer(ABSENT, "nothing on the path takes it, and orders are never read")

    @staticmethod
    def _filled(function: FunctionNode, number: int) -> bool:
        return function.body.blocks[number].end > function.body.blocks[number].start

    @staticmethod
    def _onward(function: FunctionNode, start: int, without: int) -> set[int]:
        seen, stack = {start}, [start]
        while stack:
            for _, target in function.body.blocks[stack.pop()].edges:
                if target >= 0 and target not in seen and target != without:
                    seen.add(target)
                    stack.append(target)
        return seen

    def _asks(self, function: FunctionNode) -> set[int]:
        flow = self.project.flow(function)
        found = {
            flow.block_of(op) for op, _ in self.exchange.calls_in(function, READS_ORDER, "reads_open", "reads_balance")
        }
        for op, result in self.project.calls(function).items():
            if any(t.function in self.exchange.reading for t in result.targets[:1]):
                found.add(flow.block_of(op))
        return found

    # --- rate limit ---
    def rate_limit(self, path: Path) -> Answer:
        if path.way.known.get("paced"):
            off = self._unpaced
            if off is not None:
                return Answer(ABSENT, "the client's limiter is switched off", off)
            return Answer(PROVEN, "the client's own limiter is on by default", self._place(path.way.last))
        for function, op in path.way.hops:
            found = self._call_before(function, op, PACES)
            if found is not None:
                return Answer(PROVEN, "a limiter is passed before it", found)
        if path.way.venue is not None:
            level, seen = [path.way.venue], {path.way.venue}
            for _ in range(BELOW):
                following: list[FunctionNode] = []
                for function in level:
                    for op, result in sorted(self.project.calls(function).items()):
                        call = function.body.ops[op]
                        if isinstance(call, Call) and PACES.search(last_name(function, call)):
                            return Answer(PROVEN, "a limiter is passed before the request", self._place((function, op)))
                        following.extend(t.function for t in result.targets if t.function not in seen)
                        seen.update(t.function for t in result.targets)
                level = following
            return Answer(ABSENT, "no limiter before the request", self._at(path.way.venue))
        return Answer(UNDECIDED, "whether the client paces its requests is not known", self._place(path.way.last))

    @cached_property
    def _unpaced(self) -> tuple[str, int] | None:
        """Where a client is built without its limiter."""
        for function in self.project.functions():
            for op, step in enumerate(function.body.ops):
                keys = getattr(step, "keys", ())
                for key, value in zip(keys, getattr(step, "values", ()), strict=False):
                    name = function.body.places[key].name if key != NONE else None
                    literal = function.body.places[value].name
                    if (
                        isinstance(name, Const)
                        and name.text == "enableRateLimit"
                        and isinstance(literal, Const)
                        and literal.text == "False"
                    ):
                        return self._place((function, op))
        return None

    # --- dry run and kill switch ---
    def switch(self, path: Path) -> Answer:
        for function, op in path.way.hops:
            found = self._guard(function, op, self._is_switch)
            if found is not None:
                return Answer(PROVEN, "a switch decides whether it is reached", found)
        for function, op in path.way.hops:
            seen = self._switch_beside(function, op)
            if seen is not None:
                return Answer(
                    UNDECIDED, "a switch is asked beside it; whether it can stop the order is not decided", seen
                )
        return Answer(ABSENT, "no dry run and no kill switch on this path")

    def _switch_beside(self, function: FunctionNode, op: int) -> tuple[str, int] | None:
        """A switch that a check of risk asks before the call, in the same function."""
        for rank, result in sorted(self.project.calls(function).items()):
            call = function.body.ops[rank]
            if rank == op or not isinstance(call, Call) or not CHECKED.search(last_name(function, call)):
                continue
            if self._before(function, rank, op) and any(
                self._asks_switch(t.function, INSIDE) for t in result.targets[:2]
            ):
                return self._place((function, rank))
        return None

    def _is_switch(self, function: FunctionNode, branch: int) -> bool:
        """By the names of the test itself, or by those of a test inside what it calls: `if not risk.admit(plan)`."""
        if any(SWITCH.search(name) for name, _ in self._test_names(function, branch)):
            return True
        return any(self._asks_switch(target, INSIDE) for target in self._called_by(function, branch))

    def _called_by(self, function: FunctionNode, branch: int) -> list[FunctionNode]:
        """What a test calls, in its own expression or in the one that a name it reads was stored from."""
        body, test = function.body, function.body.ops[branch]
        names = {last for last, called in self._test_names(function, branch) if called}
        found: list[FunctionNode] = []
        for op, result in sorted(self.project.calls(function).items()):
            call = body.ops[op]
            if (
                op < branch
                and isinstance(test, Branch)
                and isinstance(call, Call)
                and last_name(function, call) in names
            ):
                found.extend(t.function for t in result.targets if not t.wrapper)
        return list(dict.fromkeys(found))[:4]

    def _asks_switch(self, function: FunctionNode, depth: int) -> bool:
        if any(
            isinstance(op, Branch) and any(SWITCH.search(n) for n, _ in self._test_names(function, rank))
            for rank, op in enumerate(function.body.ops)
        ):
            return True
        below = [
            t.function
            for _, result in sorted(self.project.calls(function).items())
            for t in result.targets[:2]
            if not t.wrapper
        ]
        return depth > 0 and any(self._asks_switch(each, depth - 1) for each in dict.fromkeys(below))

    # --- what stands before a call ---
    def _guard(
        self, function: FunctionNode, op: int, wanted: Callable[[FunctionNode, int], bool]
    ) -> tuple[str, int] | None:
        flow = self.project.flow(function)
        for branch, _ in flow.guards(flow.block_of(op)):
            if wanted(function, branch):
                return self._place((function, branch))
        return None

    def _test_names(self, function: FunctionNode, branch: int) -> Iterator[tuple[str, bool]]:
        """The names that a test is made from, each with whether it is called."""
        body = function.body
        step = body.ops[branch]
        if not isinstance(step, Branch):
            return
        pending, seen = [step.test], {step.test}
        while pending and len(seen) < 40:
            operand = pending.pop()
            place = body.places[operand]
            if place.root is Root.TEMP:
                maker = next((o for o in reversed(body.ops[:branch]) if operand in writes(o)), None)
                if isinstance(maker, Call):
                    yield last_name(function, maker), True
                    pending.append(maker.callee)
                    if not isinstance(maker, Compare):
                        continue
                more = [x for x in reads(maker) if x not in seen] if maker is not None else []
                pending.extend(more)
                seen.update(more)
            for kind, value in place.path:
                yield (str(value) if kind is Select.ATTR else value.text if isinstance(value, Const) else ""), False
            if place.root in (Root.LOCAL, Root.CELL, Root.GLOBAL):
                yield str(place.name), False
                made = self._called_for(function, operand)
                if made is not None and place.root is Root.LOCAL:
                    yield last_name(function, made), True

    @staticmethod
    def _called_for(function: FunctionNode, operand: int) -> Call | None:
        """The call whose result a name holds, awaited or not."""
        body = function.body
        whole = body.places[operand]
        wanted = {i for i, p in enumerate(body.places) if p.root is whole.root and p.name == whole.name and not p.path}
        for step in body.ops:
            if isinstance(step, Store) and step.dst in wanted:
                source = step.src
                inner = next((o for o in body.ops if source in writes(o)), None)
                if isinstance(inner, Await):
                    inner = next((o for o in body.ops if inner.src in writes(o)), None)
                if isinstance(inner, Call):
                    return inner
        return None

    def _call_before(self, function: FunctionNode, op: int, *names: re.Pattern[str]) -> tuple[str, int] | None:
        flow = self.project.flow(function)
        block = flow.block_of(op)
        for rank in sorted(self.project.calls(function)):
            call = function.body.ops[rank]
            if rank == op or not isinstance(call, Call) or not any(p.search(last_name(function, call)) for p in names):
                continue
            if self._before(function, rank, op) and flow.dominates(flow.block_of(rank), block):
                return self._place((function, rank))
        return None

    def _before(self, function: FunctionNode, rank: int, op: int) -> bool:
        flow = self.project.flow(function)
        first, second = flow.block_of(rank), flow.block_of(op)
        return rank < op if first == second else first in flow.before(second)

    @staticmethod
    def _place(site: Site) -> tuple[str, int]:
        function, op = site
        return function.path, function.at(op)[0]

    @staticmethod
    def _at(function: FunctionNode) -> tuple[str, int]:
        return function.path, function.position()[0]
