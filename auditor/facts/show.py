"""The IR of a function as text: its blocks with their operations, places spelled like Python, edges and regions.

For whoever writes a rule: this is what a rule sees. `find` takes the name that one would type.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from libcst import ParserSyntaxError

from auditor.facts.codec import Program, encode
from auditor.facts.collect import text_of
from auditor.facts.lower import lower
from auditor.facts.model import (
    COLLECTIONS,
    END,
    NONE,
    OPERATORS,
    Await,
    Binary,
    Block,
    Body,
    Bool,
    Branch,
    Call,
    Catch,
    Choose,
    Closure,
    Collect,
    Compare,
    Const,
    Declare,
    Define,
    Delete,
    Enter,
    Exit,
    FileFacts,
    Format,
    Import,
    Iterate,
    Next,
    Opaque,
    Raise,
    Return,
    Root,
    Select,
    Store,
    Table,
    Unary,
    Unpack,
    Yield,
)  # fmt: skip
from auditor.source.brackets import refuse_depth
from auditor.source.module import SourceModule

MAX_TEXT = 60  # characters of a constant that are shown
OPEN = {"list": "[{}]", "tuple": "({})", "set": "set({})", "slice": "slice({})", "dict": "{{{}}}", "generator": "generator({})"}


def find(program: Program, name: str) -> list[int]:
    """Indices of the functions with this qualified name, or whose qualified name ends with `.name`; `<module>` is the
    module body."""
    if name == "<module>":
        return [0]
    functions = program.facts.functions
    exact = [rank for rank, function in enumerate(functions) if function.qualname == name]
    return exact or [rank for rank, function in enumerate(functions) if function.qualname.endswith(f".{name}")]


def show_file(path: Path, name: str) -> str:
    """The programs of the functions of a file that `name` means. Raises OSError for a file that cannot be read,
    ValueError for one that is no Python, and LookupError for a name that the file does not have."""
    data = path.read_bytes()
    refuse_depth(data)
    text, _ = text_of(str(path), data)
    try:
        module = SourceModule.parse(str(path), text)
    except ParserSyntaxError as error:
        raise ValueError(f"{path} is no Python: {error.message} (line {error.raw_line})") from error
    program = Program(encode(*lower(module)))
    found = find(program, name)
    if not found:
        known = get_close_matches(name, [f.qualname for f in program.facts.functions if f.qualname], n=3, cutoff=0.4)
        mend = f"; did you mean {' or '.join(dict.fromkeys(known))}?" if known else "; `<module>` is the module body"
        raise LookupError(f"{path} has no function {name!r}{mend}")
    return "\n".join(show(program, index) for index in found)


def show(program: Program, index: int) -> str:
    """The program of one function. Raises Corrupt, and IndexError for an index that the file does not have."""
    facts, body = program.facts, program.body(index)
    writer = _Writer(facts, index, body)
    lines = [_head(facts, index)]
    reached = reachable(body)
    for number, block in enumerate(body.blocks):
        if block.start == NONE:
            continue
        dead = "" if number in reached else "  (unreachable)"
        within = f"  in r{block.region}" if block.region != NONE else ""
        lines.append(f"b{number}:{within}{dead}")
        lines += [f"{writer.line(rank):>6}  {writer.operation(body.ops[rank])}" for rank in range(block.start, block.end)]
        lines += [f"        -> {'the end' if target == END else f'b{target}'} ({kind.name.lower()})" for kind, target in block.edges]
    for number, region in enumerate(body.regions):
        parts = [f"r{number}: {region.kind}"]
        if region.parent != NONE:
            parts.append(f"inside r{region.parent}")
        if region.handlers:
            parts.append("handlers " + ", ".join(f"b{block}" for block in region.handlers))
        if region.cleanup != NONE:
            parts.append(f"cleanup b{region.cleanup}")
        lines.append(", ".join(parts))
    return "\n".join(lines) + "\n"


def _head(facts: FileFacts, index: int) -> str:
    function = facts.functions[index]
    marks = {"vararg": "*", "kwarg": "**"}
    params = ", ".join(marks.get(p.kind, "") + p.name + ("=" if p.has_default else "") for p in function.params)
    words = [
        "async" if function.is_async else "",
        function.kind,
        f"{function.qualname or '<module>'}({params})",
        "generator" if function.is_generator else "",
        f"line {_line(facts, function.span[0])}",
    ]
    return f"{' '.join(word for word in words if word)}  digest {function.digest}"


def _line(facts: FileFacts, offset: int) -> int:
    return bisect_right(facts.line_starts, offset)


def reachable(body: Body) -> frozenset[int]:
    """Blocks that control can reach, by edges or by exceptions."""
    found: set[int] = set()
    pending = [0]
    while pending:
        number = pending.pop()
        if number in found or number == END:
            continue
        found.add(number)
        pending.extend(target for _, target in body.blocks[number].edges)
        pending.extend(exceptional(body, body.blocks[number]))
    return frozenset(found)


def exceptional(body: Body, block: Block) -> list[int]:
    """Handlers and cleanups that an exception in a block may reach, the nearest first."""
    found: list[int] = []
    region = block.region
    while region != NONE:
        guard = body.regions[region]
        found += guard.handlers
        if guard.cleanup != NONE:
            found.append(guard.cleanup)
        region = guard.parent
    return found


def literal(const: Const) -> str:
    """A constant as Python spells it, cut where it is long."""
    if const.kind in ("str", "bytes", "spec"):
        text = ascii(const.text if len(const.text) <= MAX_TEXT else const.text[:MAX_TEXT] + "...")
        return {"str": "", "bytes": "b", "spec": "spec "}[const.kind] + text
    return {"none": "None", "ellipsis": "..."}.get(const.kind, const.text)


class _Writer:
    """Spells the operations of one function."""

    def __init__(self, facts: FileFacts, index: int, body: Body) -> None:
        self.facts = facts
        self.children = facts.functions[index].children
        self.body = body

    def line(self, rank: int) -> int:
        return _line(self.facts, self.body.spans[rank][0])

    def place(self, operand: int) -> str:
        if operand == NONE:
            return "-"
        place = self.body.places[operand]
        if isinstance(place.name, Const):
            return literal(place.name)
        word = {Root.TEMP: "t", Root.CELL: "cell ", Root.GLOBAL: "global "}.get(place.root, "") + str(place.name)
        for kind, value in place.path:
            if kind is Select.ATTR:
                word += f".{value}"
            elif isinstance(value, Const):
                word += f"[{literal(value)}]"
            else:
                word += "[*]" if value == NONE else f"[{self.place(int(value))}]"
        return word

    def places(self, operands: tuple[int, ...], starred: tuple[int, ...] = ()) -> list[str]:
        return [("*" if rank in starred else "") + self.place(operand) for rank, operand in enumerate(operands)]

    def operation(self, op: Any) -> str:
        text = _SPELLED[type(op)](self, op)
        target = getattr(op, "dst", NONE)
        return text if target == NONE else f"{self.place(target)} = {text}"

    def call(self, op: Call) -> str:
        args = self.places(op.args, op.starred)
        args += [f"{name}={self.place(value)}" if name else f"**{self.place(value)}" for name, value in op.keywords]
        return f"{self.place(op.callee)}({', '.join(args)})"

    def table(self, op: Table) -> str:
        pairs = zip(op.keys, op.values, strict=True)
        parts = [f"**{self.place(v)}" if k == NONE else f"{self.place(k)}: {self.place(v)}" for k, v in pairs]
        return f"{{{', '.join(parts)}}}"

    def binary(self, op: Binary | Compare | Bool) -> str:
        words = f"{self.place(op.left)} {OPERATORS[op.operator]} {self.place(op.right)}"
        return f"{words}  (in place)" if isinstance(op, Binary) and op.inplace else words

    def created(self, word: str, rank: int, operands: tuple[int, ...], decorators: tuple[int, ...]) -> str:
        name = self.facts.functions[self.children[rank]].qualname
        made = f"{word} {name}({', '.join(self.places(operands))})"
        return f"{made} @{' @'.join(self.places(decorators))}" if decorators else made

    def unpack(self, op: Unpack) -> str:
        targets = ", ".join(self.places(op.targets, () if op.star == NONE else (op.star,)))
        return f"({targets}) = {self.place(op.src)}"


def _async(word: str, is_async: int) -> str:
    return f"async {word}" if is_async else word


_SPELLED: dict[type, Callable[[_Writer, Any], str]] = {
    Store: lambda w, op: w.place(op.src),
    Delete: lambda w, op: f"delete {w.place(op.place)}",
    Unary: lambda w, op: f"{OPERATORS[op.operator]} {w.place(op.operand)}",
    Binary: _Writer.binary,
    Compare: _Writer.binary,
    Bool: _Writer.binary,
    Choose: lambda w, op: f"{w.place(op.then)} if {w.place(op.test)} else {w.place(op.other)}",
    Collect: lambda w, op: OPEN[COLLECTIONS[op.kind]].format(", ".join(w.places(op.items, op.starred))),
    Table: _Writer.table,
    Unpack: _Writer.unpack,
    Format: lambda w, op: f"format({', '.join(w.places(op.parts))})",
    Call: _Writer.call,
    Await: lambda w, op: f"await {w.place(op.src)}",
    Yield: lambda w, op: f"{'yield from' if op.delegate else 'yield'} {w.place(op.src)}",
    Enter: lambda w, op: f"{_async('enter', op.is_async)} {w.place(op.src)}",
    Exit: lambda w, op: f"{_async('exit', op.is_async)} {w.place(op.src)}{'  (raising)' if op.raising else ''}",
    Iterate: lambda w, op: f"{_async('iterate', op.is_async)} {w.place(op.src)}",
    Next: lambda w, op: f"{_async('next', op.is_async)} {w.place(op.iterator)}",
    Closure: lambda w, op: w.created("function", op.function, op.defaults, op.decorators),
    Define: lambda w, op: w.created("class", op.body, op.bases, op.decorators),
    Import: lambda w, op: f"import {op.path}{f' : {op.member}' if op.member else ''}",
    Catch: lambda w, op: f"catch {', '.join(w.places(op.classes)) or 'anything'}",
    Raise: lambda w, op: "raise again" if op.exception == NONE else f"raise {w.place(op.exception)} from {w.place(op.cause)}",
    Return: lambda w, op: f"return {w.place(op.src)}",
    Branch: lambda w, op: f"{'assert' if op.asserts else 'branch'} {w.place(op.test)}",
    Declare: lambda w, op: f"declare {w.place(op.place)}: {op.annotation}",
    Opaque: lambda w, op: f"opaque({', '.join(w.places(op.reads))}) -> {', '.join(w.places(op.writes))}",
}
