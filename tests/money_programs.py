"""Random programs over the numeric lattice: what CPython does with them, and what the rules of the chapter money say of them.

A program is one file: constants, a dataclass, a class with attributes, helpers with and without annotations, and `act`, in which
values are bound, rebound, joined in branches, handed through calls and attributes, and meet each other. The same seed gives the
same program. `execute` runs it line by line; `Verdict` compares that with the findings.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import FrameType
from typing import Any

from auditor.finding import Confidence, Finding, Severity

ARITHMETIC = ("+", "-", "*", "/")
ORDER = ("<", "<=", ">", ">=")
FLOATS = ("0.1", "0.25", "2.5", "0.3", "1e-8", "3.0")
TEXTS = ("0.1", "2.5", "1E-7", "10", "0.333")
HEAD = """\
from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

RATE = {rate}
EXACT = Decimal("{text}")
SETTINGS = {{"fee": {fee}, "tick": Decimal("{text}"), "steps": {steps}}}


@dataclass
class Fill:
    price: Decimal
    size: Decimal
    weight: float
    stop: Decimal | None = None


class Account:
    def __init__(self, start):
        self.balance = Decimal(start)
        self.rate = {rate}
        self.count = 0
        self.last = None

    def book(self, amount):
        self.balance = self.balance + amount
        self.count = self.count + 1

    def share(self):
        return self.rate * self.count


def exact(value):
    return Decimal(str(value))


def floating(value: Decimal) -> float:
    return float(value)


def half(value):
    return value / 2


def fee(amount: Decimal, rate={rate}):
    return amount * exact(rate)


def maybe(flag: bool, value: Decimal) -> Decimal | None:
    if flag:
        return None
    return value

"""


@dataclass(frozen=True)
class Program:
    """One program. `equalities` maps the lines of `==` and `!=` to the names that hold their results."""

    text: str
    equalities: Mapping[int, str]


class Writer:
    """Writes one program; it knows the kind of each value, so that values of two kinds meet now and then, and not always."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.lines: list[str] = []
        self.kinds: dict[str, str] = {
            "price": "Decimal",
            "ratio": "float",
            "count": "int",
            "fill": "Fill",
            "account": "Account",
        }
        self.equalities: dict[str, str] = {}
        self.names = 0
        self.depth = 1

    def write(self, length: int) -> Program:
        choose = self.random.choice
        head = HEAD.format(rate=choose(FLOATS), text=choose(TEXTS), fee=choose(FLOATS), steps=self.random.randint(1, 9))
        for _ in range(length):
            self.statement()
        body = [
            "def act(price: Decimal, ratio: float, count: int, flag: bool, fill: Fill, account: Account):",
            *self.lines,
            "    return None",
            "",
        ]
        start = head.count("\n") + 1
        numbers = {start + rank: self.equalities[line] for rank, line in enumerate(body) if line in self.equalities}
        return Program(head + "\n".join(body), numbers)

    # --- statements ---
    def statement(self) -> None:
        choices: list[Callable[[], None]] = [
            self.arithmetic,
            self.arithmetic,
            self.arithmetic,
            self.convert,
            self.convert,
            self.call,
            self.rebind,
            self.compare,
            self.equal,
            self.attribute,
            self.collection,
            self.branch,
        ]
        self.random.choice(choices)()

    def bind(self, kind: str, expression: str) -> str:
        self.names += 1
        name = f"v{self.names}"
        self.put(f"{name} = {expression}")
        if self.depth == 1:
            self.kinds[name] = kind
        return name

    def put(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    def value(self, *kinds: str) -> tuple[str, str]:
        """A value of one of the kinds: its text and its kind."""
        kind = self.random.choice(kinds)
        named = sorted(name for name, other in self.kinds.items() if other == kind)
        fixed = {
            "Decimal": [
                "EXACT",
                "fill.price",
                "fill.size",
                'SETTINGS["tick"]',
                f'Decimal("{self.random.choice(TEXTS)}")',
                "account.balance",
            ],
            "float": [
                "RATE",
                "fill.weight",
                'SETTINGS["fee"]',
                self.random.choice(FLOATS),
                "account.rate",
                "account.share()",
            ],
            "int": [str(self.random.randint(1, 50)), 'SETTINGS["steps"]', "account.count + 1"],
            "None": ["fill.stop", "account.last"],
        }
        return self.random.choice([*named, *named, *fixed[kind]]), kind

    def pair(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """Two operands: mostly of kinds that go together."""
        if self.random.random() < 0.2:
            return self.value("Decimal"), self.value("float")
        first = self.value("Decimal", "float", "int")
        other = {"Decimal": ("Decimal", "int"), "float": ("float", "int"), "int": ("Decimal", "float", "int")}[first[1]]
        return first, self.value(*other)

    @staticmethod
    def of(operator: str, one: str, other: str) -> str:
        if "Decimal" in (one, other):
            return "Decimal"
        return "float" if "float" in (one, other) or operator == "/" else "int"

    def arithmetic(self) -> None:
        (left, one), (right, other) = self.pair()
        operator = self.random.choice(ARITHMETIC)
        if self.random.random() < 0.5:
            left, right, one, other = right, left, other, one
        if operator == "/":
            right = f"(abs({right}) + 1)"
        self.bind(self.of(operator, one, other), f"{left} {operator} {right}")

    def convert(self) -> None:
        source, kind = self.value("Decimal", "float", "int")
        to = self.random.choice(["Decimal", "text", "float", "int", "abs", "round", "neg"])
        forms = {
            "Decimal": ("Decimal", f"Decimal({source})"),
            "text": ("Decimal", f"Decimal(str({source}))"),
            "float": ("float", f"float({source})"),
            "int": ("int", f"int({source})"),
            "abs": (kind, f"abs({source})"),
            "round": (kind, f"round({source}, 4)"),
            "neg": (kind, f"-{source}"),
        }
        self.bind(*forms[to])

    def call(self) -> None:
        exact, number = self.value("Decimal")[0], self.value("Decimal", "float", "int")
        loose = self.value("float")[0]
        forms = [
            ("Decimal", f"exact({number[0]})"),
            ("float", f"floating({exact})"),
            ("Decimal", f"fee({exact})"),
            ("Decimal", f"fee({exact}, {loose})"),
            ("Decimal" if number[1] == "Decimal" else "float", f"half({number[0]})"),
            ("Decimal", f"fee({exact}, rate={loose})"),
        ]
        self.bind(*self.random.choice(forms))

    def rebind(self) -> None:
        if self.depth > 1:
            return
        name = self.random.choice(sorted(n for n, k in self.kinds.items() if k in ("Decimal", "float", "int")))
        source, kind = self.value("Decimal", "float", "int")
        form = self.random.choice(["exact", "plain"])
        self.put(f"{name} = Decimal(str({name}))" if form == "exact" else f"{name} = {source}")
        self.kinds[name] = "Decimal" if form == "exact" else kind

    def compare(self) -> None:
        kinds = self.random.choice(
            [("Decimal", "Decimal"), ("Decimal", "int"), ("float", "float"), ("Decimal", "None"), ("Decimal", "float")]
        )
        sides = [self.value(kind)[0] for kind in kinds]
        self.random.shuffle(sides)
        self.bind("bool", f"{sides[0]} {self.random.choice(ORDER)} {sides[1]}")

    def equal(self) -> None:
        left, right = self.value("Decimal")[0], self.value("float", "float", "int", "Decimal")[0]
        name = self.bind("bool", f"{left} {self.random.choice(['==', '!='])} {right}")
        self.equalities[self.lines[-1]] = name

    def attribute(self) -> None:
        source = self.value("Decimal", "Decimal", "Decimal", "float")[0]
        self.put(
            self.random.choice(
                [
                    f"account.book({source})",
                    f"fill = Fill({self.value('Decimal')[0]}, {source}, {self.value('float')[0]})",
                ]
            )
        )

    def collection(self) -> None:
        kind = self.random.choice(["Decimal", "Decimal", "float"])
        items = ", ".join(self.value(kind)[0] for _ in range(self.random.randint(1, 3)))
        start = self.random.choice(["", "", ", 0", ", 0.0", ', Decimal("0")'])
        self.bind(kind, self.random.choice([f"sum([{items}]{start})", f"max([{items}])", f"[{items}][0]"]))

    def branch(self) -> None:
        if self.depth > 1:
            return
        one, other = self.value("Decimal", "float", "int"), self.value("Decimal", "float", "int")
        self.names += 1
        name = f"v{self.names}"
        self.put("if flag:")
        self.put(f"    {name} = {one[0]}")
        self.put("else:")
        self.put(f"    {name} = {other[0]}")
        self.kinds[name] = one[1] if one[1] == other[1] else self.random.choice([one[1], other[1]])


def program(seed: int, length: int = 14) -> Program:
    """The program of a seed."""
    return Writer(seed).write(length)


# --- execution -------------------------------------------------------------------------------------------------------


@dataclass
class Trace:
    """What happened: lines that ran to their end, lines that raised TypeError, what Decimals were made of by line, and the results
    of equalities by line."""

    passed: set[int] = field(default_factory=set)
    raised: set[int] = field(default_factory=set)
    inexact: dict[int, set[bool]] = field(default_factory=dict)
    equal: dict[int, set[bool]] = field(default_factory=dict)


def execute(made: Program, flags: Iterable[bool] = (True, False)) -> Trace:
    """Run `act` with both outcomes of its flag; a line that raises ends the run."""
    trace = Trace()
    for flag in flags:
        _once(made, flag, trace)
    return trace


def _once(made: Program, flag: bool, trace: Trace) -> None:
    namespace: dict[str, Any] = {"__name__": "program"}
    code = compile(made.text, "<program>", "exec")
    sys.modules["program"] = type(sys)("program")  # dataclasses look their module up
    try:
        exec(code, namespace)
    finally:
        del sys.modules["program"]

    def made_of(value: Any = 0) -> Decimal:
        line = sys._getframe(1).f_lineno
        if isinstance(value, float):
            trace.inexact.setdefault(line, set()).add(Decimal(value) != Decimal(repr(value)))
        return Decimal(value)

    fill = namespace["Fill"](Decimal("2.5"), Decimal(3), 0.5)
    account = namespace["Account"]("100")
    namespace["Decimal"] = made_of
    last: dict[FrameType, int] = {}

    def watch(frame: FrameType, event: str, _argument: Any) -> Any:
        if frame.f_code.co_filename != "<program>":
            return None
        if event == "line":
            if frame in last:
                trace.passed.add(last[frame])
            last[frame] = frame.f_lineno
        elif (
            event == "return" and _argument is not None or event == "return" and frame in last and frame not in failing
        ):
            trace.passed.add(last[frame])
        elif event == "exception":
            failing.add(frame)
        return watch

    failing: set[FrameType] = set()
    sys.settrace(watch)
    try:
        namespace["act"](Decimal("1.5"), 0.25, 3, flag, fill, account)
    except TypeError as error:
        at = error.__traceback__
        while at is not None:
            if at.tb_frame.f_code.co_filename == "<program>":
                where, line = at.tb_frame, at.tb_lineno
            at = at.tb_next
        trace.raised.add(line)
        results = _locals_of(error, where)
    else:
        results = {}
    finally:
        sys.settrace(None)
    for frame in last:
        if frame.f_code.co_name == "act":
            results = {**frame.f_locals, **results}
    for line, name in made.equalities.items():
        if name in results and line in trace.passed:
            trace.equal.setdefault(line, set()).add(bool(results[name]))


def _locals_of(error: TypeError, _frame: FrameType) -> dict[str, Any]:
    """The values of `act` when it failed."""
    at = error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_name == "act":
            return dict(at.tb_frame.f_locals)
        at = at.tb_next
    return {}


# --- comparison ------------------------------------------------------------------------------------------------------

RAISING = frozenset({"float-decimal-mixing", "mixed-numeric-comparison"})


@dataclass
class Tally:
    """Counts over programs, and sentences about certain findings that execution contradicts."""

    counts: Counter[str] = field(default_factory=Counter)
    contradictions: list[str] = field(default_factory=list)

    def add(self, seed: int, made: Program, trace: Trace, findings: Iterable[Finding]) -> None:
        """Compare one program with what is said of it."""
        found = [f for f in findings if f.confidence is not Confidence.POSSIBLE]
        self._raising(seed, trace, found)
        self._precision(seed, trace, found)
        self._equality(seed, made, trace, found)

    def _raising(self, seed: int, trace: Trace, found: list[Finding]) -> None:
        said = {f.line: f for f in found if f.rule in RAISING and "TypeError" in f.message}
        steps = {s.line for f in said.values() for s in f.proof}
        for line in sorted(trace.raised):
            self.counts["raised"] += 1
            self.counts["raised, said"] += line in said or line in steps
            self.counts["raised, certain"] += line in said and said[line].confidence is Confidence.CERTAIN
        for line, finding in sorted(said.items()):
            if finding.confidence is Confidence.CERTAIN:
                self.counts["certain to raise"] += 1
                if line in trace.passed:
                    self.contradictions.append(f"seed {seed}, line {line}: passed, although {finding.message}")
            elif line in trace.passed and line not in trace.raised:
                self.counts["likely to raise, passed"] += 1
            else:
                self.counts["likely to raise"] += 1

    def _precision(self, seed: int, trace: Trace, found: list[Finding]) -> None:
        said = {f.line: f for f in found if f.rule == "decimal-from-float"}
        for line, outcomes in sorted(trace.inexact.items()):
            self.counts["Decimal of a float"] += 1
            finding = said.get(line)
            self.counts["Decimal of a float, said"] += finding is not None
            if finding is not None and finding.confidence is Confidence.CERTAIN:
                loses = finding.severity is not Severity.INFO
                if outcomes != {loses}:
                    self.contradictions.append(
                        f"seed {seed}, line {line}: inexact is {sorted(outcomes)}, although {finding.message}"
                    )

    def _equality(self, seed: int, made: Program, trace: Trace, found: list[Finding]) -> None:
        said = {f.line: f for f in found if f.rule == "mixed-numeric-comparison"}
        lines = made.text.splitlines()
        for line, outcomes in sorted(trace.equal.items()):
            finding = said.get(line)
            self.counts["equality"] += 1
            if finding is None or finding.confidence is not Confidence.CERTAIN:
                continue
            self.counts["equality, certain"] += 1
            expected = " != " in lines[line - 1]
            if outcomes != {expected}:
                self.contradictions.append(f"seed {seed}, line {line}: {sorted(outcomes)}, although {finding.message}")
