"""What must not matter: the same program written in another way has the same findings, and a mended one has none.

Each mark of a case is replaced by a tag, `#@ path:line`, which travels with its line through a transform; findings are
compared by the tag of their line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import libcst as cst
import libcst.matchers as m
import pytest
from linked import analysed

from auditor.expect import marks

CASES = Path(__file__).resolve().parent.parent / "fixtures" / "cases"
CASE = {"blocking-call-in-async": "async_safety/blocking_call_in_async", "bare-except": "errors/bare_except"}
TAG = re.compile(r"#@ (\S+)")
FIRST = ("many.py",)  # files in which the place of the first handler is what is told
Texts = dict[str, str]


@cache
def case_of(rule: str) -> Mapping[str, str]:
    """The case of a rule with its marks made tags."""
    root = CASES / CASE[rule]
    texts: Texts = {}
    for file in sorted(root.rglob("*.py")):
        path, text = file.relative_to(root).as_posix(), file.read_text("utf-8")
        lines = text.split("\n")
        for mark in marks(path, text):
            line = lines[mark.line - 1]
            if "#@" not in line:
                lines[mark.line - 1] = (
                    f"{line[: re.search(r'# (expect|trap|todo):', line).start()]}#@ {path}:{mark.line}"  # type: ignore[union-attr]  # a mark is there
                )
        texts[path] = "\n".join(lines)
    return texts


def tags(rule: str, texts: Mapping[str, str], encode: Callable[[str], bytes] = str.encode) -> Counter[str]:
    """How often each tagged line is reported. A finding on a line without a tag keeps its own place."""
    found: Counter[str] = Counter()
    for finding in analysed(rule, {path: encode(text) for path, text in texts.items()}):
        line = texts[finding.path].splitlines()[finding.line - 1]
        tag = TAG.search(line)
        found[tag.group(1) if tag else f"{finding.path}:{finding.line}: {line.strip()}"] += 1
    return found


@cache
def before(rule: str) -> Counter[str]:
    return tags(rule, case_of(rule))


# --- transforms: what must not matter ---------------------------------------------------------------------------------


def by_tree(transformer: Callable[[], cst.CSTTransformer]) -> Callable[[Texts], Texts]:
    def transform(texts: Texts) -> Texts:
        return {path: cst.parse_module(text).visit(transformer()).code for path, text in texts.items()}

    return transform


def parameters(node: cst.CSTNode) -> set[str]:
    return {p.name.value for p in m.findall(node, m.Param()) if isinstance(p, cst.Param)}


class Renamed(cst.CSTTransformer):
    """Local names of functions get a suffix; parameters, and what a nested scope declares, keep theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[set[str]] = []

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        stores = [n.target for n in m.findall(node, m.AssignTarget(m.Name())) if isinstance(n, cst.AssignTarget)]
        stores += [n.target for n in m.findall(node, m.For(m.Name())) if isinstance(n, cst.For)]
        names = {n.value for n in stores if isinstance(n, cst.Name)} - parameters(node)
        declared = [i.name.value for n in m.findall(node, m.Global() | m.Nonlocal()) for i in n.names]  # type: ignore[attr-defined]  # a matched statement
        inherited = self.names[-1] if self.names else set()
        self.names.append((names - set(declared)) | inherited)

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        self.names.pop()
        return updated_node

    def visit_Attribute_attr(self, node: cst.Attribute) -> None:
        self.names.append(set())

    def leave_Attribute_attr(self, node: cst.Attribute) -> None:
        self.names.pop()

    def visit_Arg_keyword(self, node: cst.Arg) -> None:
        self.names.append(set())

    def leave_Arg_keyword(self, node: cst.Arg) -> None:
        self.names.pop()

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.Name:
        known = self.names[-1] if self.names else set()
        return (
            updated_node.with_changes(value=f"{updated_node.value}_renamed")
            if updated_node.value in known
            else updated_node
        )


class Aliased(cst.CSTTransformer):
    """Every import of a single name gets an alias, and its uses with it."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, str] = {}
        self.depth = 0
        self.exports = False

    def visit_Module(self, node: cst.Module) -> None:
        self.exports = bool(m.findall(node, m.Name("__all__")))
        bound = (
            {n.value for n in m.findall(node, m.Name()) if isinstance(n, cst.Name)}
            if self.exports
            else parameters(node)
        )
        for statement in m.findall(node, m.Import() | m.ImportFrom()):
            if isinstance(statement, cst.Import | cst.ImportFrom) and not isinstance(statement.names, cst.ImportStar):
                for alias in statement.names:
                    if alias.asname is None and isinstance(alias.name, cst.Name) and alias.name.value not in bound:
                        self.names[alias.name.value] = f"{alias.name.value}_alias"

    def visit_ImportAlias(self, node: cst.ImportAlias) -> bool:
        return False

    def leave_ImportAlias(self, original_node: cst.ImportAlias, updated_node: cst.ImportAlias) -> cst.ImportAlias:
        name = updated_node.name
        if updated_node.asname is None and isinstance(name, cst.Name) and name.value in self.names:
            return updated_node.with_changes(asname=cst.AsName(cst.Name(self.names[name.value])))
        return updated_node

    def visit_ImportFrom_module(self, node: cst.ImportFrom) -> None:
        self.depth += 1

    def leave_ImportFrom_module(self, node: cst.ImportFrom) -> None:
        self.depth -= 1

    visit_Attribute_attr = visit_ImportFrom_module  # type: ignore[assignment]  # the same for another node
    leave_Attribute_attr = leave_ImportFrom_module  # type: ignore[assignment]  # likewise
    visit_Arg_keyword = visit_ImportFrom_module  # type: ignore[assignment]  # likewise
    leave_Arg_keyword = leave_ImportFrom_module  # type: ignore[assignment]  # likewise

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.Name:
        if self.depth or updated_node.value not in self.names:
            return updated_node
        return updated_node.with_changes(value=self.names[updated_node.value])


class InParentheses(cst.CSTTransformer):
    """Each call stands in parentheses of its own, and so does each callee."""

    def visit_Decorator(self, node: cst.Decorator) -> bool:
        return False

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        func = updated_node.func.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        return updated_node.with_changes(func=func, lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


class UnderTrue(cst.CSTTransformer):
    """The body of each function stands under `if True:`."""

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        if not isinstance(updated_node.body, cst.IndentedBlock):
            return updated_node
        inner = updated_node.body.with_changes(header=cst.TrailingWhitespace())
        body = cst.IndentedBlock([cst.If(cst.Name("True"), inner)], header=updated_node.body.header)
        return updated_node.with_changes(body=body)


class Reordered(cst.CSTTransformer):
    """Methods, and runs of functions of a module, stand in reverse order."""

    @staticmethod
    def turned(body: Any) -> list[Any]:
        made: list[Any] = []
        run: list[Any] = []
        for statement in (*body, None):
            if isinstance(statement, cst.FunctionDef) and not statement.decorators:
                run.append(statement)
                continue
            made.extend(reversed(run))
            run = []
            if statement is not None:
                made.append(statement)
        return made

    def leave_Module(self, original_node: cst.Module, updated_node: cst.Module) -> cst.Module:
        return updated_node.with_changes(body=self.turned(updated_node.body))

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> cst.ClassDef:
        return updated_node.with_changes(body=updated_node.body.with_changes(body=self.turned(updated_node.body.body)))


class Annotated(cst.CSTTransformer):
    """Annotations become texts; procedures say that they return None, numbers of a loop that they are."""

    def leave_Annotation(self, original_node: cst.Annotation, updated_node: cst.Annotation) -> cst.Annotation:
        text = cst.Module([]).code_for_node(updated_node.annotation)
        return updated_node.with_changes(annotation=cst.SimpleString(repr(text)))

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        gives = m.findall(original_node, m.Return(value=m.DoNotCare()) | m.Yield())
        if updated_node.returns is not None or gives or original_node.name.value.startswith("__"):
            return updated_node
        return updated_node.with_changes(returns=cst.Annotation(cst.Name("None")))


def with_blank_lines(texts: Texts) -> Texts:
    def spread(text: str) -> str:
        lines = [
            f"\n{'' if not line else line[: len(line) - len(line.lstrip())]}# a remark\n{line}"
            if re.match(r"\s*(async def|def|class|return|await) ", line) and not previous.strip().startswith("@")
            else line
            for previous, line in zip(["", *text.split("\n")], text.split("\n"), strict=False)
        ]
        return "\n".join(lines)

    return {path: spread(text) for path, text in texts.items()}


def with_tabs(texts: Texts) -> Texts:
    return {
        path: re.sub(r"^(?: {4})+", lambda found: "\t" * (len(found.group()) // 4), text, flags=re.MULTILINE)
        for path, text in texts.items()
    }


def with_nap(texts: Texts) -> Texts:
    """`time.sleep` is imported by name, under another name."""
    return {
        path: re.sub(r"^import time$", "import time\nfrom time import sleep as nap", text, flags=re.MULTILINE).replace(
            "time.sleep", "nap"
        )
        if re.search(r"^import time$", text, flags=re.MULTILINE)
        else text
        for path, text in texts.items()
    }


def with_split_modules(texts: Texts) -> Texts:
    """Each module of the desk becomes a private one, and a front that gives its names by a star and by name."""
    made: Texts = {}
    for path, text in texts.items():
        names = [s.name.value for s in cst.parse_module(text).body if isinstance(s, cst.FunctionDef | cst.ClassDef)]
        if path.endswith("__init__.py") or not names or "/" not in path:
            made[path] = text
            continue
        folder, _, name = path.rpartition("/")
        stem = name.removesuffix(".py")
        dotted = folder.replace("/", ".")
        made[f"{folder}/_{stem}.py"] = text
        made[path] = f"from {dotted}._{stem} import *\nfrom {dotted}._{stem} import {', '.join(names)}\n"
    return made


def with_moved_callees(texts: Texts) -> Texts:
    """Module functions that other functions of their file call stand in a module of their own."""
    made: Texts = dict(texts)
    for path, name in (
        ("desk/handlers.py", "_total"),
        ("desk/threads.py", "pause"),
        ("desk/loops.py", "run_by_name"),
        ("desk/clients.py", "retried"),
    ):
        if path not in made:
            continue
        tree = cst.parse_module(made[path])
        moved = next(s for s in tree.body if isinstance(s, cst.FunctionDef) and s.name.value == name)
        imports = [s for s in tree.body if m.matches(s, m.SimpleStatementLine([m.Import() | m.ImportFrom()]))]
        new = path.replace(".py", f"_{name.strip('_')}")
        made[f"{new}.py"] = cst.Module([*imports, moved]).code
        first = cst.parse_statement(f"from {new.replace('/', '.')} import {name}")
        rest = [s for s in tree.body if s is not moved]
        at = 1 + max(i for i, s in enumerate(rest) if s in imports)
        made[path] = tree.with_changes(body=[*rest[:at], first, *rest[at:]]).code
    return made


def with_dead_code(texts: Texts) -> Texts:
    dead = "\n\ndef nobody_calls_this():\n    import time\n\n    time.sleep(9)\n"
    return {path: text.rstrip("\n") + "\n" + dead for path, text in texts.items()}


def in_another_package(texts: Texts) -> Texts:
    return {"src/bots/__init__.py": ""} | {
        f"src/bots/{path}": re.sub(r"\b(from|import) desk\b", r"\1 bots.desk", text).replace(
            "desk.make_client", "bots.desk.make_client"
        )
        for path, text in texts.items()
    }


SAME: dict[str, Callable[[Texts], Texts]] = {
    "locals renamed": by_tree(Renamed),
    "imports aliased": by_tree(Aliased),
    "imported by name": with_nap,
    "modules split and re-exported": with_split_modules,
    "callees moved": with_moved_callees,
    "under if True": by_tree(UnderTrue),
    "definitions reordered": lambda texts: (
        by_tree(Reordered)({p: t for p, t in texts.items() if p not in FIRST})
        | {p: texts[p] for p in FIRST if p in texts}
    ),
    "annotated": by_tree(Annotated),
    "in parentheses": by_tree(InParentheses),
    "blank lines and remarks": with_blank_lines,
    "tabs": with_tabs,
    "dead code": with_dead_code,
    "in another package": in_another_package,
    "all at once": lambda texts: with_blank_lines(
        by_tree(InParentheses)(by_tree(UnderTrue)(by_tree(Renamed)(with_split_modules(texts))))
    ),
}
BYTES: dict[str, Callable[[str], bytes]] = {
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
}


@pytest.mark.parametrize("rule", CASE)
@pytest.mark.parametrize("transform", SAME.values(), ids=SAME)
def test_the_same_program_has_the_same_findings(rule: str, transform: Callable[[Texts], Texts]) -> None:
    texts = dict(case_of(rule))
    changed = transform(texts)
    assert rule == "bare-except" or changed != texts, "a transform that changes nothing proves nothing"
    assert tags(rule, changed) == before(rule)


@pytest.mark.parametrize("rule", CASE)
@pytest.mark.parametrize("encode", BYTES.values(), ids=BYTES)
def test_the_bytes_of_lines_do_not_matter(rule: str, encode: Callable[[str], bytes]) -> None:
    assert tags(rule, case_of(rule), encode) == before(rule)


def test_the_case_has_findings_to_keep() -> None:
    assert len(before("blocking-call-in-async")) >= 30
    assert len(before("bare-except")) >= 10


# --- negative transforms: the mended line is silent -------------------------------------------------------------------


class ToThread(cst.CSTTransformer):
    """A call that is returned, assigned or a statement of its own in a coroutine is handed to a thread."""

    def __init__(self, wanted: set[str]) -> None:
        super().__init__()
        self.wanted = wanted
        self.inside: list[bool] = []
        self.done: set[str] = set()

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self.inside.append(node.asynchronous is not None)

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        self.inside.pop()
        return updated_node

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine:
        comment = original_node.trailing_whitespace.comment
        tag = TAG.search(comment.value) if comment is not None else None
        if not self.inside or not self.inside[-1] or tag is None or tag.group(1) not in self.wanted:
            return updated_node
        statement = updated_node.body[0]
        call = statement.value if isinstance(statement, cst.Return | cst.Expr | cst.Assign) else None
        if not isinstance(call, cst.Call):
            return updated_node
        self.done.add(tag.group(1))
        function = cst.parse_expression("asyncio.to_thread")
        handed = cst.Await(call.with_changes(func=function, args=[cst.Arg(call.func), *call.args]), lpar=[], rpar=[])
        return updated_node.with_changes(body=[statement.with_changes(value=handed), *updated_node.body[1:]])


def test_handed_to_a_thread_it_does_not_block() -> None:
    rule = "blocking-call-in-async"
    mended: set[str] = set()
    texts: Texts = {}
    for path, text in case_of(rule).items():
        transformer = ToThread(set(before(rule)))
        code = cst.parse_module(text).visit(transformer).code
        texts[path] = code if "import asyncio" in code else code.replace('"""\n', '"""\n\nimport asyncio\n', 1)
        mended |= transformer.done
    assert len(mended) >= 20
    after = set(tags(rule, texts))
    again = after - set(before(rule))  # the second call of a coroutine whose first was mended
    assert after - again == set(before(rule)) - mended
    assert len(again) == 1


MENDED: dict[str, tuple[str, str, str, str]] = {  # file, what stands there, what mends it, what the lines then hold
    "the once-guard gets its assignment": (
        "desk/clients.py",
        '        if self._markets is None:\n            return self._get("markets")\n',
        '        if self._markets is None:\n            self._markets = self._get("markets")\n',
        "markets_again()",
    ),
    "the argument says not to wait": (
        "desk/handlers.py",
        "submit(order, wait=True)",
        "submit(order, wait=False)",
        "submit(order, wait=False)",
    ),
    "the queue is asked first": (
        "desk/threads.py",
        "        return self.items.get()",
        "        if not self.items.empty():\n            return self.items.get()",
        "return self.items.get()",
    ),
    "the queue does not wait": (
        "desk/threads.py",
        "return self.items.get()  #",
        "return self.items.get_nowait()  #",
        "return self.items.get_nowait()",
    ),
    "the early call becomes a reference": (
        "desk/threads.py",
        'run_in_executor(None, client.balance("USD"))',
        'run_in_executor(None, client.balance, "USD")',
        'run_in_executor(None, client.balance, "USD")',
    ),
    "the twin is taken": (
        "desk/twins.py",
        "self.sync = ccxt.binance",
        "self.sync = ccxt_async.binance",
        "self.sync.fetch_ticker",
    ),
    "the other client is built": (
        "desk/handlers.py",
        "self.slow = SlowPaperClient()",
        "self.slow = PaperClient()",
        "self.slow.balance",
    ),
}


@pytest.mark.parametrize(("path", "old", "new", "where"), MENDED.values(), ids=MENDED)
def test_a_mended_line_is_silent(path: str, old: str, new: str, where: str) -> None:
    rule = "blocking-call-in-async"
    texts = dict(case_of(rule))
    assert texts[path].count(old) == 1, "the case has changed"
    texts[path] = texts[path].replace(old, new)
    gone = Counter(before(rule))
    gone.subtract(tags(rule, texts))
    vanished = {tag for tag, n in gone.items() if n > 0}
    assert not [tag for tag, n in gone.items() if n < 0]
    expected = {
        found.group(1)
        for text in texts.values()
        for line in text.splitlines()
        if where in line and (found := TAG.search(line))
    }
    assert vanished == expected & set(before(rule))
    assert vanished


def test_an_asynchronous_helper_does_not_block() -> None:
    rule = "blocking-call-in-async"
    texts = dict(case_of(rule))
    path = "desk/threads.py"
    old = "def pause(seconds):\n    time.sleep(seconds)\n"
    assert old in texts[path]
    texts[path] = texts[path].replace(old, "async def pause(seconds):\n    await asyncio.sleep(seconds)\n")
    gone = set(before(rule)) - set(tags(rule, texts))
    lines = {
        tag
        for line in texts[path].splitlines()
        for tag in TAG.findall(line)
        if "pause(" in line.replace("pause, delays", "pause(")
    }
    assert gone == lines & set(before(rule))
    assert len(gone) >= 3


@pytest.mark.parametrize("rule", ["bare-except"])
def test_exception_instead_of_all_is_silent(rule: str) -> None:
    texts = {
        path: re.sub(r"except(\*?) BaseException|except:", r"except\1 Exception:", text)
        .replace("Exception::", "Exception:")
        .replace("Exception: as", "Exception as")
        .replace("BaseException)", "Exception)")
        for path, text in case_of(rule).items()
    }
    assert tags(rule, texts) == Counter()
