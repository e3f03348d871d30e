"""
Arithmetic between Decimal and float

## What it finds
An operator, `sum`, `divmod` or `pow` with a Decimal on one side and a float on the other, a float that is given to a
Decimal parameter or field, wherever the two come from: attributes, other files, defaults, configuration.

## Why it matters
Decimal and float do not mix: the expression raises TypeError each time it runs. In a bot that is the first fill with a
fee, not the first test; and inside a broad handler it never shows, the fee is simply always zero.

## Bad
```python
from decimal import Decimal


def fee(price: Decimal, amount: Decimal) -> Decimal:
    return price * amount * 0.001
```

## Good
Keep both sides exact: write the literal as a Decimal, and make the float a Decimal where it enters the program
(`Decimal(str(value))`), not where it is used.

```python
from decimal import Decimal


def fee(price: Decimal, amount: Decimal) -> Decimal:
    return price * amount * Decimal("0.001")
```

## Limits
Decides by the types that reach the expression; a value whose type the source does not settle is passed over (a missed
alarm), and so is an operand that may be None. An annotation is believed unless the project's own callers and stores
contradict it. `float` in an annotation also admits int, which does not raise: alone it gives a likely finding, certain
once a caller is seen to pass a float, and a possible one where a function is declared to return float and its body does
not show it. Where only some values clash, the finding is likely. Units are not tracked.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditor.facts.model import OPERATORS, Binary, Call, Const, Declare, Root, Select, Store
from auditor.finding import Confidence, Edit, Finding, Fix, Severity, Step
from auditor.project.flow import describe, reads
from auditor.project.infer import annotated
from auditor.project.project import Project
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.types import Instance
from auditor.rule import Rule

from ._arithmetic import ARITHMETIC
from ._chains import Chain, Tracer, exactly, field_argument, floating
from ._clashes import Clash, call_clash, operator_clash
from ._edits import as_decimal, decimal_name, operand_edit
from ._handlers import swallowed
from ._numbers import Numbers, argument, numbers_of
from ._run import Run
from ._values import (
    Value,
    all_decimal,
    all_float,
    constant,
    has_decimal,
    has_float,
    word,
)  # fmt: skip

CONVERTERS = frozenset(
    {"Decimal", "str", "float", "int", "isinstance", "repr", "format", "round", "type", "create_decimal", "from_float"}
)
RECORDS = frozenset({"dataclass", "dataclasses.dataclass"})


class FloatDecimalMixing(Rule):
    id = "float-decimal-mixing"
    severity = Severity.HIGH
    confidence = Confidence.CERTAIN
    since = "0.1"
    effort = "S"
    cwe = (682, 1339)
    models = ("numbers",)
    counterparts = {"mypy": {"operator": "super", "arg-type": "near", "assignment": "near"}}

    def check_project(self, project: Project) -> Iterator[Finding]:
        numbers = numbers_of(project)
        if not numbers.exact:
            return
        judge = _Judge(numbers)
        for function in numbers.meeting:
            yield from judge.function(function)


class _Judge:
    """Findings of one project, function by function."""

    def __init__(self, numbers: Numbers) -> None:
        self.numbers = numbers
        self.project = numbers.project
        self.floats = Tracer(numbers, floating, tests=True)
        self.exact = Tracer(numbers, exactly, tests=True)

    def function(self, function: FunctionNode) -> Iterator[Finding]:
        yield from self._defaults(function)
        if function.header.kind != "class" and not any(
            isinstance(op, Call | Binary | Store) for op in function.body.ops
        ):
            return
        run = self.numbers.run(function)
        found: dict[int, list[Finding]] = {}
        for rank in sorted(run.inputs):
            for finding in self._operation(run, rank):
                found.setdefault(finding.line, []).append(finding)
        for rank, op in enumerate(function.body.ops):
            if isinstance(op, Store) and rank in run.written:
                for finding in self._field_store(run, rank, op):
                    found.setdefault(finding.line, []).append(finding)
        for line in sorted(found):
            yield _merged(found[line])

    # --- operations ---
    def _operation(self, run: Run, rank: int) -> Iterator[Finding]:
        op = run.body.ops[rank]
        clash: Clash | None = None
        if isinstance(op, Binary) and OPERATORS[op.operator] in ARITHMETIC:
            clash = operator_clash(run, rank, op.left, op.right, OPERATORS[op.operator])
        elif isinstance(op, Call):
            clash = call_clash(run, rank, op)
            if clash is None:
                yield from self._arguments(run, rank, op)
        if clash is not None:
            finding = self._mixing(run, clash)
            if finding is not None:
                yield finding

    def _mixing(self, run: Run, clash: Clash) -> Finding | None:
        function, rank = run.function, clash.rank
        floats = self.floats.chain(function, rank, clash.floats)
        exact = self.exact.chain(function, rank, clash.exact) if clash.exact != clash.floats else Chain()
        if floats.refuted or exact.refuted:
            return None
        constant_float = run.places[clash.floats].root is Root.CONST
        if not clash.always and (floats.declared or not (floats.steps or constant_float)):
            return None  # that a float can arrive is not shown
        firm = not floats.declared or floats.confirmed  # `float` in an annotation also admits int, which does not raise
        certain = clash.always and firm and not any(c.doubtful or c.open for c in (floats, exact))
        left, right = run.inputs[rank][clash.floats], run.inputs[rank][clash.exact]
        how = (
            "whenever it runs"
            if certain
            else f"when the {word(frozenset(a for a in left if has_float(frozenset((a,)))))} arrives"
        )
        both = all(has_float(side) and has_decimal(side) for side in (left, right))  # they may change together
        unsure = both or (floats.doubtful and floats.declared)
        swallow = swallowed(self.project, function, rank)
        here = f"{clash.written}: {word(right)} with {word(left)} raises TypeError {how}"
        steps = [*floats.steps, *exact.steps, self.project.step(function, rank, here, clash.written)]
        message = f"{clash.written} mixes Decimal and float: TypeError {how}"
        severity = Severity.HIGH
        if swallow is not None:
            severity = severity.step(1)
            message += f"; the handler swallows it, so {swallow.effect}"
            steps.append(
                self.project.step(function, swallow.handler, f"the handler swallows it: {swallow.effect}", "except")
            )
        line, column, end_line, end_column = function.at(rank)
        return Finding(
            rule=FloatDecimalMixing.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
            message=message, symbol=function.symbol, severity=severity,
            confidence=Confidence.CERTAIN if certain else Confidence.POSSIBLE if unsure else Confidence.LIKELY,
            proof=_distinct(steps), fix=self._fix(run, clash, floats, certain),
        )  # fmt: skip

    def _fix(self, run: Run, clash: Clash, floats: Chain, certain: bool) -> Fix:
        function = run.function
        place = run.places[clash.floats]
        if isinstance(place.name, Const):
            name, extra = decimal_name(function)
            edit = operand_edit(function, clash.rank, clash.floats, name)
            title = f"Write {as_decimal(place.name.text, name)}"
            if edit is not None and certain:
                return Fix("safe", title, (*extra, edit))
            return Fix("display", title)
        source = floats.steps[0] if floats.steps else None
        where = (
            f" at {source.path}:{source.line}"
            if source is not None and (source.path, source.line) != (function.path, function.at(clash.rank)[0])
            else ""
        )
        return Fix(
            "display",
            f"Make {describe(run.body, clash.floats) or 'the float'} a Decimal at its source{where}, with Decimal(str(value))",
        )

    # --- arguments and fields ---
    def _arguments(self, run: Run, rank: int, op: Call) -> Iterator[Finding]:
        result = self.project.calls(run.function).get(rank)
        if result is None:
            return
        targets = [t for t in result.targets if not t.wrapper]
        if len(targets) == 1:
            callee = targets[0].function
            for param in callee.header.params:
                declared = (
                    self.numbers.convert(self.project.world.annotation(param.annotation, callee))
                    if param.annotation
                    else frozenset()
                )
                operand = (
                    argument(self.project, run.function, rank, callee, param.name) if all_decimal(declared) else None
                )
                if operand is not None and operand >= 0 and all_float(run.inputs[rank].get(operand, frozenset())):
                    yield from self._argument(run, rank, operand, callee, param.name)
        elif not targets and result.external.endswith("()"):
            for atom in result.type:
                if isinstance(atom, Instance) and isinstance(atom.cls, ClassNode) and _record(atom.cls):
                    yield from self._record(run, rank, atom.cls)

    def _argument(self, run: Run, rank: int, operand: int, callee: FunctionNode, name: str) -> Iterator[Finding]:
        value = run.inputs[rank][operand]
        inner = self.numbers.supposing(callee, {name: value})
        readers = _readers(inner, name)
        if not readers:
            return
        flow = self.project.flow(callee)
        ends = [n for n, b in enumerate(callee.body.blocks) if any(t < 0 for _, t in b.edges) and n in flow.rank]
        raising = next(
            (r for r in readers if _raises(inner, r) and all(flow.dominates(flow.block_of(r), n) for n in ends)), None
        )  # fmt: skip
        steps: list[Step] = []
        if raising is not None:
            steps.append(
                self.project.step(callee, raising, f"{callee.name}() uses {name} with a Decimal: TypeError", name)
            )
        yield self._given(
            run, rank, operand, f"the Decimal parameter {name} of {callee.name}()", name, steps, raising is not None
        )

    def _record(self, run: Run, rank: int, cls: ClassNode) -> Iterator[Finding]:
        for ancestor in cls.mro:
            for field in ancestor.header.fields:
                if field.annotation is None or not all_decimal(self._declared(ancestor, field.name)):
                    continue
                operand = field_argument(run.function, rank, cls, field.name)
                if operand is not None and all_float(run.inputs[rank].get(operand, frozenset())):
                    line, column = ancestor.module.position(field.offset)
                    step = Step(
                        ancestor.module.path,
                        line,
                        column,
                        f"{field.name} is declared Decimal in {ancestor.name}",
                        field.name,
                    )
                    yield self._given(
                        run, rank, operand, f"the Decimal field {field.name} of {cls.name}", field.name, [step], False
                    )

    def _declared(self, cls: ClassNode, name: str) -> Value:
        field = next((f for f in cls.header.fields if f.name == name and f.annotation is not None), None)
        if field is None:
            return frozenset()
        return self.numbers.convert(
            self.project.world.annotations.type_of(
                field.annotation, cls.module, cls.module.functions[cls.header.parent]
            )
        )

    def _field_store(self, run: Run, rank: int, op: Store) -> Iterator[Finding]:
        """`self.price = 0.1` where the class declares a Decimal, and a float default in a class body."""
        function = run.function
        place = run.places[op.dst]
        value = run.written[rank]
        if not all_float(value):
            return
        if function.body_of is not None and not place.path and place.root is Root.LOCAL:
            if all_decimal(self._declared(function.body_of, str(place.name))) and not _table(function.body_of):
                yield self._given(
                    run,
                    rank,
                    op.src,
                    f"the Decimal field {place.name} of {function.body_of.name}",
                    str(place.name),
                    [],
                    False,
                )
        elif (
            len(place.path) == 1
            and place.path[0].kind is Select.ATTR
            and place.name == function.self_name
            and function.cls is not None
        ):
            name = str(place.path[0].value)
            for ancestor in function.cls.mro:
                if all_decimal(self._declared(ancestor, name)):
                    field = next(f for f in ancestor.header.fields if f.name == name)
                    line, column = ancestor.module.position(field.offset)
                    step = Step(
                        ancestor.module.path, line, column, f"{name} is declared Decimal in {ancestor.name}", name
                    )
                    yield self._given(run, rank, op.src, f"the Decimal attribute {name}", name, [step], False)
                    return
            declare = next((o for o in function.body.ops[:rank] if isinstance(o, Declare) and o.place == op.dst), None)
            if declare is not None and all_decimal(
                self.numbers.convert(annotated(self.project.world, function, declare))
            ):
                yield self._given(run, rank, op.src, f"the Decimal attribute {name}", name, [], False)

    def _given(
        self, run: Run, rank: int, operand: int, what: str, name: str, after: list[Step], raises: bool
    ) -> Finding:
        """A float for something declared Decimal."""
        function = run.function
        chain = self.floats.chain(function, rank, operand)
        line, column, end_line, end_column = function.at(rank)
        ends = "raises TypeError there" if raises else "raises where it first meets a Decimal"
        here = self.project.step(function, rank, f"float given to {what}", name)
        source = run.places[operand]
        title = "Make the float a Decimal with Decimal(str(value)) where it enters"
        if isinstance(source.name, Const):
            title = f"Write {as_decimal(source.name.text, decimal_name(function)[0])}"
        return Finding(
            rule=FloatDecimalMixing.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
            message=f"float for {what}: it {ends}", symbol=function.symbol,
            severity=Severity.HIGH if raises else Severity.MEDIUM,
            confidence=Confidence.POSSIBLE if chain.refuted or (chain.doubtful and chain.declared) else Confidence.LIKELY,
            proof=_distinct([*chain.steps, here, *after]), fix=Fix("display", title),
        )  # fmt: skip

    def _defaults(self, function: FunctionNode) -> Iterator[Finding]:
        """`def f(price: Decimal = 0.1)`."""
        for param in function.header.params:
            if param.default is None or param.default.kind != "float" or param.annotation is None:
                continue
            if not all_decimal(self.numbers.convert(self.project.world.annotation(param.annotation, function))):
                continue
            run = self.numbers.supposing(function, {param.name: constant(param.default)})
            if not function.header.abstract and not _readers(run, param.name):
                continue
            line, column = function.position()
            note = f"{param.name} is a Decimal parameter with the float default {param.default.text}"
            yield Finding(
                rule=FloatDecimalMixing.id, path=function.path, line=line, column=column, end_line=line,
                end_column=column + len(function.name), message=f"{note}: it raises where it first meets a Decimal",
                symbol=function.symbol, severity=Severity.MEDIUM, confidence=Confidence.LIKELY,
                proof=(Step(function.path, line, column, note, param.name),),
                fix=Fix("display", f"Write {as_decimal(param.default.text, decimal_name(function)[0])}"),
            )  # fmt: skip


def _readers(run: Run, name: str) -> list[int]:
    """Operations that use a parameter while it is still a float, conversions and tests of its type aside."""
    found = []
    body = run.body
    for rank, op in enumerate(body.ops):
        for operand in reads(op):
            place = body.places[operand]
            if place.root is not Root.LOCAL or place.name != name or place.path:
                continue
            if isinstance(op, Call) and describe(body, op.callee) == "isinstance":
                return []  # whatever is declared, other types are expected and answered
            if isinstance(op, Call) and describe(body, op.callee).rpartition(".")[2] in CONVERTERS:
                continue
            if has_float(run.seen(rank, operand)):
                found.append(rank)
    return found


def _raises(run: Run, rank: int) -> bool:
    op = run.body.ops[rank]
    if not isinstance(op, Binary) or OPERATORS[op.operator] not in ARITHMETIC or rank not in run.inputs:
        return False
    found = operator_clash(run, rank, op.left, op.right, "")
    return found is not None and found.always


def _record(cls: ClassNode) -> bool:
    """Whether the constructor only stores what it is given: a dataclass or named tuple."""
    plain = any(d.name in RECORDS for c in cls.mro for d in c.header.decorators) or any(
        path.rpartition(".")[2] == "NamedTuple" for c in cls.mro for path in c.externals
    )
    return plain and cls.method("__post_init__") is None


def _table(cls: ClassNode) -> bool:
    return cls.method("__post_init__") is not None


def _distinct(steps: list[Step]) -> tuple[Step, ...]:
    """Steps without repeats of one place."""
    seen: dict[tuple[str, int, str], Step] = {}
    for step in steps:
        seen.setdefault((step.path, step.line, step.note), step)
    return tuple(seen.values())


def _merged(findings: list[Finding]) -> Finding:
    """One finding of a line: the first, with the edits of all."""
    first = max(findings, key=lambda f: (f.severity or 0, f.confidence or 0, -f.column))
    edits: dict[Edit, None] = {}
    for finding in findings:
        if finding.fix is not None and finding.fix.applicability == "safe":
            edits.update(dict.fromkeys(finding.fix.edits))
    if len(findings) > 1 and edits and first.fix is not None and first.fix.applicability == "safe":
        return first.with_(fix=Fix("safe", first.fix.title, tuple(edits)))
    return first
