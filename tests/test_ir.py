"""The IR is complete and well formed: coverage against CPython's `ast`, structure, encoding, digests, hostile input."""

from __future__ import annotations

import ast
import random
import sys
import sysconfig
import threading
import tokenize
import warnings
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.facts import model as ir
from auditor.facts.codec import HEAD, MAGIC, Corrupt, Program, _hash, encode
from auditor.facts.lower import lower
from auditor.facts.show import exceptional, find, reachable, show, show_file
from auditor.source.module import SourceModule

LIBRARY = Path(sysconfig.get_paths()["stdlib"])
FIXTURES = Path(__file__).parent.parent / "fixtures"
FILES = 150  # of the standard library
MAX_SIZE = 16_000  # bytes of a file: parsing twice must stay quick
OLD_FSTRINGS = sys.version_info < (3, 12)  # `ast` gives no true positions inside f-strings
NO_OPERATION = (ast.Pass, ast.Global, ast.Nonlocal)


def sample() -> list[Path]:
    """Files of the standard library, and all fixtures."""
    found = [p for p in LIBRARY.glob("**/*.py") if "site-packages" not in p.parts and 500 < p.stat().st_size < MAX_SIZE]
    found = [p for p in found if not {"lib2to3", "idlelib", "turtledemo", "config-3.11"} & set(p.parts)]
    chosen = random.Random(7).sample(sorted(found), k=min(FILES, len(found)))
    return sorted(chosen) + sorted(FIXTURES.glob("**/*.py"))


@cache
def lowered(path: Path) -> tuple[str, ast.Module, Program] | None:
    """Text, `ast` and IR of a file; None for one that is no Python (test data)."""
    try:
        with tokenize.open(path) as file:
            text = file.read()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, UnicodeDecodeError):
        return None
    return text, tree, program(text)


def program(text: str) -> Program:
    return Program(encode(*lower(SourceModule.parse("file.py", text))))


def everything(files: list[Path]) -> Iterator[tuple[Path, str, ast.Module, Program]]:
    for path in files:
        found = lowered(path)
        if found is not None:
            yield path, *found


def operations(program: Program) -> Iterator[tuple[ir.Op, tuple[int, int], ir.Function]]:
    for index, function in enumerate(program.facts.functions):
        body = program.body(index)
        for op, span in zip(body.ops, body.spans, strict=True):
            yield op, span, function


def line_of(program: Program) -> Callable[[int], int]:
    starts = program.facts.line_starts
    return lambda offset: bisect_right(starts, offset)


# --- coverage ---


def statements(tree: ast.AST) -> Iterator[ast.stmt]:
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if not isinstance(block, list):
                continue
            for statement in block:
                is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
                if isinstance(statement, ast.stmt) and not is_text and not isinstance(statement, NO_OPERATION):
                    yield statement


def test_every_statement_is_covered() -> None:
    """A line of the statement has an operation; of `try` and `while True`, an entry in the table of statements."""
    total, by_table = 0, Counter[str]()
    for path, _, tree, lowered_program in everything(sample()):
        locate = line_of(lowered_program)
        lines = {locate(start) for _, (start, _), _ in operations(lowered_program)}
        table = {statement.line for statement in lowered_program.facts.statements}
        for statement in statements(tree):
            total += 1
            if statement.lineno in lines or statement.lineno in first_lines(statement, lines):
                continue
            assert statement.lineno in table, f"{path}:{statement.lineno} {ast.dump(statement)[:80]}"
            by_table[type(statement).__name__] += 1
    print(f"{total} statements; covered by the table only: {dict(by_table)}")
    assert total > 8_000
    assert set(by_table) <= {"Try", "TryStar", "While", "Break", "Continue", "TypeAlias", "If"}


def first_lines(statement: ast.stmt, lines: set[int]) -> set[int]:
    """An expression that spans lines has its operations where its parts stand."""
    if isinstance(statement, ast.Try | ast.While | ast.For | ast.With | ast.FunctionDef | ast.ClassDef):
        return set()
    last = statement.test.end_lineno if isinstance(statement, ast.If) else statement.end_lineno
    return {statement.lineno} if lines & set(range(statement.lineno, (last or statement.lineno) + 1)) else set()


def not_run(tree: ast.AST) -> set[int]:
    """Ids of the expressions that the IR leaves out on purpose: annotations, type parameters, type aliases."""
    found: set[int] = set()
    for node in ast.walk(tree):
        roots: list[ast.AST | None] = []
        if isinstance(node, ast.arg | ast.AnnAssign):
            roots = [node.annotation]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            roots = [node.returns, *getattr(node, "type_params", ())]
        elif isinstance(node, ast.ClassDef):
            roots = [*getattr(node, "type_params", ())]
        elif type(node).__name__ == "TypeAlias":
            roots = [node]
        found.update(id(inner) for root in roots if root is not None for inner in ast.walk(root))
    return found


def inside_fstrings(tree: ast.AST) -> set[int]:
    return {id(inner) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for inner in ast.walk(node)}


def test_every_call_await_and_yield_is_an_operation() -> None:
    kinds = {ast.Call: ir.Call, ast.Await: ir.Await, ast.Yield: ir.Yield, ast.YieldFrom: ir.Yield}
    total = Counter[str]()
    for path, text, tree, lowered_program in everything(sample()):
        starts: dict[type, set[int]] = {cls: set() for cls in ir.OPS}
        ends: dict[type, Counter[tuple[int, int]]] = {cls: Counter() for cls in ir.OPS}
        for op, span, _ in operations(lowered_program):
            starts[type(op)].add(span[0])
            ends[type(op)][span] += 1
        lines = text.splitlines(keepends=True)
        skipped, formatted = not_run(tree), inside_fstrings(tree) if OLD_FSTRINGS else set()
        line_starts = lowered_program.facts.line_starts
        counted = Counter[type]()
        for node in ast.walk(tree):
            kind = kinds.get(type(node))  # type: ignore[arg-type]  # other nodes give None
            if kind is None or id(node) in skipped:
                continue
            assert isinstance(node, ast.expr)
            counted[kind] += 1
            if id(node) in formatted:
                continue
            raw = lines[node.lineno - 1] if len(lines) == len(line_starts) or node.lineno <= len(lines) else ""
            column = len(raw.encode()[: node.col_offset].decode())
            total[type(node).__name__] += 1
            assert line_starts[node.lineno - 1] + column in starts[kind], f"{path}:{node.lineno}:{column} {ast.dump(node)[:80]}"
        for kind, count in counted.items():
            assert len(ends[kind]) == count, f"{path}: {count} {kind.__name__}, {len(ends[kind])} in the IR"
    print(dict(total))
    assert total["Call"] > 5_000


def test_almost_nothing_is_opaque() -> None:
    total = opaque = 0
    for _, _, _, lowered_program in everything(sample()):
        kinds = Counter(type(op) for op, _, _ in operations(lowered_program))
        total += kinds.total()
        opaque += kinds[ir.Opaque]
    print(f"{opaque} of {total} operations are opaque")
    assert opaque < total / 1000


# --- structure ---


PLAIN = frozenset({
    "operator", "inplace", "kind", "star", "starred", "delegate", "is_async", "raising", "function", "body", "asserts",
    "path", "member", "annotation",
})  # fmt: skip


def operands(op: Any) -> list[int]:
    """The numbers of an operation that are places."""
    found: list[int] = []
    for name, value in zip(op._fields, op, strict=True):
        if name in PLAIN:
            continue
        if name == "keywords":
            found.extend(operand for _, operand in value)
        elif isinstance(value, tuple):
            found.extend(value)
        else:
            found.append(value)
    return found


def check_structure(body: ir.Body, children: int) -> None:
    """What every interpretation of the IR may rely on."""
    placed = [block for block in body.blocks if block.start != ir.NONE]
    covered = [rank for block in placed for rank in range(block.start, block.end)]
    assert sorted(covered) == list(range(len(body.ops))), "operations are not divided among the blocks"
    assert len(body.spans) == len(body.ops)
    for rank in reachable(body):
        block = body.blocks[rank]
        assert 0 <= block.start <= block.end <= len(body.ops), "a block that can be reached was never placed"
        assert all(ir.END <= target < len(body.blocks) for _, target in block.edges)
        assert all(0 <= target < len(body.blocks) for target in exceptional(body, block))
    for block in placed:
        kinds = [kind for kind, _ in block.edges]
        for position, op in enumerate(body.ops[block.start : block.end], block.start):
            last = position == block.end - 1
            assert all(ir.NONE <= operand < len(body.places) for operand in operands(op))
            if isinstance(op, ir.Branch | ir.Next):
                assert last and kinds == [ir.Edge.TRUE, ir.Edge.FALSE]
            elif isinstance(op, ir.Await | ir.Yield) or (isinstance(op, ir.Enter | ir.Exit) and op.is_async):
                assert last, f"{op} does not end its block"
            elif isinstance(op, ir.Raise):
                assert last and not kinds
            elif isinstance(op, ir.Return):
                assert last and kinds == [ir.Edge.RETURN]
            elif isinstance(op, ir.Closure):
                assert 0 <= op.function < children
            elif isinstance(op, ir.Define):
                assert 0 <= op.body < children
        if ir.Edge.TRUE in kinds or ir.Edge.FALSE in kinds:
            assert block.end > block.start and isinstance(body.ops[block.end - 1], ir.Branch | ir.Next)
        assert len(set(kinds)) == len(kinds) or set(kinds) == {ir.Edge.FINALLY}
    for rank, region in enumerate(body.regions):
        assert ir.NONE <= region.parent < rank, "regions form a cycle"
        guards = bool(region.handlers) or region.cleanup != ir.NONE
        assert guards is (region.kind in ("try", "with"))
        for handler in region.handlers:
            assert catches(body, handler), "a handler without Catch"
            assert body.regions[body.blocks[handler].region].kind == "except"
        if region.cleanup != ir.NONE:
            assert body.regions[body.blocks[region.cleanup].region].kind == "except"
    for index, place in enumerate(body.places):
        assert len(place.path) <= 4
        assert all(s.value == ir.NONE or int(str(s.value)) < index for s in place.path if s.kind is ir.Select.KEY)


def catches(body: ir.Body, block: int) -> bool:
    """Whether control meets Catch from here, before anything leaves."""
    seen: set[int] = set()
    pending = [block]
    while pending:
        number = pending.pop()
        if number in seen:
            continue
        seen.add(number)
        part = body.blocks[number]
        if any(isinstance(op, ir.Catch) for op in body.ops[part.start : part.end]):
            return True
        pending.extend(target for _, target in part.edges if target != ir.END)
    return False


def test_structure() -> None:
    count = 0
    for path, _, _, lowered_program in everything(sample()):
        for index, function in enumerate(lowered_program.facts.functions):
            try:
                check_structure(lowered_program.body(index), len(function.children))
            except AssertionError as error:
                raise AssertionError(f"{path} {function.qualname}: {error}\n{show(lowered_program, index)}") from error
            count += 1
    print(f"{count} functions")
    assert count > 2000


def test_a_broken_structure_is_seen() -> None:
    body = program("def f(x):\n    if x:\n        return 1\n").body(1)
    check_structure(body, 0)
    for broken in (
        body._replace(blocks=(body.blocks[0]._replace(end=0), *body.blocks[1:])),
        body._replace(blocks=(body.blocks[0]._replace(edges=((ir.Edge.TRUE, 1),)), *body.blocks[1:])),
        body._replace(places=body.places[:1]),
        body._replace(regions=(ir.Region(0, "try", (), 1),)),
    ):
        with pytest.raises(AssertionError):
            check_structure(broken, 0)


# --- encoding ---


def test_encoding_gives_the_facts_back() -> None:
    for path in sample()[::10]:
        found = lowered(path)
        if found is None:
            continue
        facts, programs = lower(SourceModule.parse("file.py", found[0]))
        blob = encode(facts, programs)
        decoded = Program(blob)
        assert decoded.facts == facts
        assert encode(decoded.facts, programs) == blob
        for index, encoded in enumerate(programs):
            body = decoded.body(index)
            assert len(body.ops) * 2 == len(encoded.spans)
            assert decoded.facts.functions[index].digest == encoded.digest


SMALL = '''
import os
class A(B):
    x: int = 1
    def f(self, a, *b, k=2, **c):
        try:
            with self.lock as l:
                return [i.n for i in a if i] + f"{a!r:>{k}}"
        except (KeyError, ValueError) as e:
            raise E(*b, **c) from e
        finally:
            print({1: 2, **c}, a[1:2], lambda: k)
async def g():
    await x; yield y
    match z:
        case P(1, q=2): pass
'''


def decode(blob: bytes) -> None:
    """Decode all of a blob; whatever is not Corrupt must be well formed."""
    try:
        decoded = Program(blob)
        for index, function in enumerate(decoded.facts.functions):
            body = decoded.body(index)
            assert all(ir.NONE <= operand < len(body.places) for op in body.ops for operand in operands(op))
            assert all(ir.END <= target < len(body.blocks) for block in body.blocks for _, target in block.edges)
            assert all(type(name) is str for name in (function.name, function.qualname, function.digest))
            show(decoded, index)
    except Corrupt:
        return


@cache
def small_blob() -> bytes:
    return encode(*lower(SourceModule.parse("file.py", SMALL)))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_blob_is_corrupt(data: st.DataObject) -> None:
    blob = bytearray(small_blob())
    cut = data.draw(st.integers(min_value=0, max_value=len(blob)))
    if data.draw(st.booleans()):
        with pytest.raises(Corrupt):
            Program(bytes(blob[: min(cut, len(blob) - 1)]))
        return
    blob[min(cut, len(blob) - 1)] ^= 1 << data.draw(st.integers(min_value=0, max_value=7))
    with pytest.raises(Corrupt):
        Program(bytes(blob))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_forged_blob_is_corrupt_or_well_formed(data: st.DataObject) -> None:
    """A hash that fits proves nothing: lengths and ranges are checked as well."""
    rest = bytearray(small_blob()[HEAD:])
    size = int.from_bytes(rest[:4], "little")
    for _ in range(data.draw(st.integers(min_value=1, max_value=3))):
        if data.draw(st.booleans()):
            rest[data.draw(st.integers(min_value=0, max_value=len(rest) - 1))] ^= 1 << data.draw(st.integers(min_value=0, max_value=7))
        else:
            number = data.draw(st.integers(min_value=0, max_value=(len(rest) - 4 - size) // 4 - 1))
            value = data.draw(st.sampled_from((-(2**31), -2, -1, 0, 1, 2, 5, 30, 255, 256, 2**31 - 1)))
            rest[4 + size + 4 * number : 8 + size + 4 * number] = value.to_bytes(4, "little", signed=True)
    decode(MAGIC + _hash(bytes(rest)) + bytes(rest))


def test_the_message_of_a_corrupt_blob_says_what_to_do() -> None:
    with pytest.raises(Corrupt, match=r"^unreadable blob of facts: it is none of this version, .* is cleared$"):
        Program(b"nonsense")


# --- digests ---

FUNCTION = '''
def f(a, b):
    total = [x * a for x in b if x]
    def g():
        return (lambda: total)(), [y for y in b]
    return g, {k: v for k, v in total}
'''
NEIGHBOUR = "def n(z):\n    return [w for w in z]\n"


def digests(text: str, *names: str) -> list[str]:
    found = program(text)
    return [found.facts.functions[index].digest for name in names for index in find(found, name)]


def test_a_digest_survives_moving_and_changes_elsewhere() -> None:
    names = ("f", "f.g", "f.g.<lambda>")
    before = digests(FUNCTION + NEIGHBOUR, *names)
    assert len(before) == len(set(before)) == 3
    for text in (
        "# moved\n\n\nimport os\n" + FUNCTION + NEIGHBOUR,
        NEIGHBOUR + FUNCTION,
        NEIGHBOUR.replace("[w for w in z]", "[[w for w in q] for q in z], {e for e in z}") + FUNCTION,
        FUNCTION.replace("    total", "    # a comment\n    total").replace("def g():", "def g():  # another"),
        FUNCTION.replace("x * a", "(x  *  a)"),
    ):
        assert digests(text, *names) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x * a", "x + a"), ("x * a", "x * 2"), ("if x]", "if not x]"), ("x * a", "x.a * a"), ("return g,", "return f,"),
        ("    def g()", "    total += 1\n    def g()"), ("{k: v", "{v: k"),
        ("    return g,", "    try: a()\n    finally: b()\n    return g,"),
    ],
)  # fmt: skip
def test_a_digest_changes_with_the_function(old: str, new: str) -> None:
    changed = FUNCTION.replace(old, new)
    assert changed != FUNCTION
    assert digests(changed, "f") != digests(FUNCTION, "f")


def test_strings_with_zeros_do_not_collide() -> None:
    assert digests("def f():\n    return 'a\\0b', 'c'\n", "f") != digests("def f():\n    return 'a', 'b\\0c'\n", "f")


# --- the printer ---


def test_a_function_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "small.py"
    path.write_text(SMALL)
    text = show_file(path, "A.f")
    assert text.startswith("def A.f(self, a, *b, k=, **c) line 5  digest ")
    for line in (
        "t1 = enter self.lock", "exit self.lock  (raising)", "e = catch global KeyError, global ValueError",
        "branch i'1", "t2[*] = i'1.n", "t7 = global E(*b, **c)", "raise t7 from e", "function A.f.<lambda>()",
        "format(a, spec '!r:>{}', k)", "(swallow)", "r0: try, cleanup b1",
    ):  # fmt: skip
        assert line in text, f"{line}\n{text}"
    assert show_file(path, "f") == text
    assert "class A(global B)" in show_file(path, "<module>")
    with pytest.raises(LookupError, match=r"has no function 'A\.g'; did you mean A\.f"):
        show_file(path, "A.g")
    path.write_text("def f(:\n")
    with pytest.raises(ValueError, match="is no Python"):
        show_file(path, "f")
    with pytest.raises(OSError, match="missing"):
        show_file(tmp_path / "missing.py", "f")


# --- hostile input ---


def on_a_deep_stack(work: Callable[[], None]) -> None:
    """Run as the workers do: with a large stack and a high limit of recursion."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed to the thread of the test
            errors.append(error)

    limit, size = sys.getrecursionlimit(), threading.stack_size(512 << 20)
    sys.setrecursionlimit(20_000)
    try:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    finally:
        sys.setrecursionlimit(limit)
        threading.stack_size(size)
    if errors:
        raise errors[0]


def nested(depth: int, before: str, after: str = "") -> str:
    """Lines `before` with the next level below them, then lines `after`, each at the indent of its level; `{}` is the
    number of the level."""

    def at(level: int, lines: str) -> str:
        return "".join("    " * level + line.format(level) + "\n" for line in lines.split("\n") if line)

    heads = "".join(at(level, before) for level in range(depth))
    return heads + "    " * depth + "step()\n" + "".join(at(level, after) for level in reversed(range(depth)))


def within(text: str) -> str:
    return "def f(x):\n" + "".join(f"    {line}\n" for line in text.splitlines())


HOSTILE: dict[str, Callable[[int], str]] = {
    "sum": lambda n: within("y = " + " + ".join(f"x.a{i}()" for i in range(6 * n))),
    "and": lambda n: within("y = " + " and ".join(f"x.a{i}()" for i in range(6 * n))),
    "or in a condition": lambda n: within("if " + " or ".join(f"x.a{i}" for i in range(6 * n)) + ": pass"),
    "comparison": lambda n: within("y = " + " < ".join(f"x.a{i}" for i in range(6 * n))),
    "parentheses": lambda n: within("y = " + "(" * (3 * n) + "x.a + 1" + ")" * (3 * n)),
    "nested calls": lambda n: within("y = " + "g(" * n + "x" + ")" * n),
    "chained calls": lambda n: within("y = x" + ".a()" * (2 * n)),
    "concatenated strings": lambda n: within("y = " + " ".join("'s'" for _ in range(6 * n))),
    "arguments with calls": lambda n: within("g(" + ", ".join(f"x.a{i}, h()" for i in range(20 * n)) + ")"),
    "elif": lambda n: within("if x == 0: pass\n" + "".join(f"elif x == {i}: y = {i}\n" for i in range(20 * n))),
    "cases": lambda n: within("match x:\n" + "".join(f"    case [{i}, y] | {{'k': y}}: z = y\n" for i in range(2 * n))),
    "finally in try": lambda n: within(nested(n // 2, "try:", "finally:\n    return {}")),
    "finally with a way out in try": lambda n: within(nested(n // 2, "try:", "    if x: return {0}\nfinally:\n    with x: g({0})")),
    "finally in finally": lambda n: within(nested(n // 2, "try: return {}\nfinally:")),
    "finally in finally with more after": lambda n: within(nested(n // 2, "try: return {}\nfinally:", "    if x: return {}")),
    "with": lambda n: within(nested(n // 2, "with x as y{}:", "    return {}")),
    "loops with jumps": lambda n: within(nested(min(n, 100) // 5, "for i{} in x:", "    if x: break\n    if y: continue")),
    "handlers": lambda n: within("try: g()\n" + "".join(f"except E{i} as e: h(e)\n" for i in range(10 * n))),
    "classes": lambda n: "".join(f"class A{i}:\n    def f(self): return [y for y in self.x]\n" for i in range(5 * n)),
    "nested functions": lambda n: nested(n // 5, "def f{}(x):", "    return x"),
    "lambdas": lambda n: within("y = " + "lambda x: (" * (n // 2) + "x" + ")" * (n // 2)),
    "a long display": lambda n: within("y = [" + ", ".join(f"x.a{i}" for i in range(50 * n)) + ", g()]"),
}


def size_of(text: str) -> int:
    """Integers of the encoded programs: what lowering writes."""
    _, programs = lower(SourceModule.parse("file.py", text))
    return sum(len(p.code) + len(p.blocks) + len(p.places) + len(p.regions) for p in programs)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_input_is_lowered_in_proportion(name: str) -> None:
    """Twice the input gives about twice the program, at a size where a power or an exponent would show."""
    make = HOSTILE[name]

    def work() -> None:
        small, large = size_of(make(50)), size_of(make(100))
        assert large < 3 * small + 2000, f"{small} -> {large}"
        text = make(100)
        found = program(text)
        for index, function in enumerate(found.facts.functions):
            if len(function.children) < 100:
                check_structure(found.body(index), len(function.children))

    on_a_deep_stack(work)
