"""A parsed module -> its facts: every function lowered, and the headers of functions, classes and imports.

Asks no other file: names stay symbolic, so no change elsewhere can make this result wrong.
"""

from __future__ import annotations

from typing import Any

import libcst as cst

from auditor.facts.annotations import type_expr
from auditor.facts.builder import CODE, Encoded
from auditor.facts.literals import float_text, integer_text, literal_text
from auditor.facts.model import (
    NONE,
    Class,
    Const,
    Decorator,
    Field,
    FileFacts,
    Function,
    ImportFact,
    Param,
    Return,
    Root,
    Statement,
)  # fmt: skip
from auditor.facts.statements import Statements, dotted
from auditor.source.module import Scope, SourceModule, all_parameters, imported_name, target_names

RETURN = CODE[Return]
SUSPENSIONS = (cst.Await, cst.Yield)
CHANGES = (cst.Call, cst.Await, cst.Yield, cst.NamedExpr)
SIMPLE = (
    cst.Expr, cst.Assign, cst.AnnAssign, cst.AugAssign, cst.Del, cst.Return, cst.Raise, cst.Assert, cst.Break,
    cst.Continue, cst.Pass, cst.Global, cst.Nonlocal, cst.Import, cst.ImportFrom, cst.TypeAlias,
    *(getattr(cst, name) for name in ("LazyImport", "LazyImportFrom") if hasattr(cst, name)),
)  # fmt: skip
COMPOUND = (cst.If, cst.For, cst.While, cst.With, cst.Try, cst.TryStar, cst.Match, cst.FunctionDef, cst.ClassDef)


class Lowering:
    """The lowering of one file. `run` gives the facts and, per function, its encoded program."""

    def __init__(self, module: SourceModule) -> None:
        self.module = module
        self.spans = module.spans.table
        self.scope_of = module.scope_of
        self.suffix: dict[int, dict[int, int]] = {}
        starts: dict[type, list[int]] = {}
        shared: set[str] = set()
        for scope in module.scopes:
            for kind in CHANGES:
                for node in scope.buckets.get(kind, ()):
                    starts.setdefault(kind, []).append(self.spans[id(node)][0])
            shared.update(scope.explicit_global, scope.explicit_nonlocal)
            shared.update(name for node in scope.buckets.get(cst.NamedExpr, ()) for name in target_names(node.target))
        self.suspensions = sorted(s for kind in SUSPENSIONS for s in starts.get(kind, ()))
        self.changes = sorted(s for kind in CHANGES for s in starts.get(kind, ()))
        self.shared = frozenset(shared)  # names that may be bound anew while an expression that reads them is evaluated
        self.headers: list[Function | None] = []
        self.programs: list[Encoded] = []
        self.classes: list[Class] = []
        self.class_of: dict[int, int] = {}  # index of a class body -> index of its class

    # --- names ---
    def resolve(self, scope: Scope, name: str) -> tuple[Root, str]:
        """What `name` means in `scope`. Names of comprehensions are numbered, from one in each function: two
        comprehensions of a function may use the same name."""
        current: Scope | None = scope
        own = True
        while current is not None:
            kind = current.kind
            if kind == "comprehension":
                if name in current.bound:
                    return (Root.LOCAL if own else Root.CELL), f"{name}'{self._number(current)}"
            elif kind == "module":
                break
            elif kind == "class" and current is not scope:
                pass  # neither a method nor a comprehension sees the names of its class
            elif name in current.explicit_global:
                break
            elif name in current.bound:
                return (Root.LOCAL if own else Root.CELL), name
            if kind != "comprehension":
                own = False
            current = current.parent
        return Root.GLOBAL, name

    def _number(self, comprehension: Scope) -> int:
        owner: Scope = comprehension
        while owner.kind == "comprehension" and owner.parent is not None:
            owner = owner.parent
        numbers = self.suffix.setdefault(id(owner), {})
        return numbers.setdefault(id(comprehension), len(numbers) + 1)

    # --- functions ---
    def run(self) -> tuple[FileFacts, list[Encoded]]:
        self.lower(self.module.tree, NONE, NONE)
        functions = tuple(header for header in self.headers if header is not None)
        return (
            FileFacts(
                functions, tuple(self.classes), tuple(self._imports()), self._exports(), (),
                tuple(self._statements()), tuple(self.module.lines.starts), self._import_line(),
                tuple(sorted(self._dynamic().items())), self.module.tree.encoding,
            ),
            self.programs,
        )  # fmt: skip

    def lower(self, top: Any, parent: int, cls: int) -> None:
        """Lower a scope and, with a worklist, all that are nested in it. Numbers are given in source order."""
        pending: list[tuple[Any, int, int, int]] = [(top, parent, cls, self._reserve())]
        while pending:
            node, parent, cls, index = pending.pop()
            children = self._one(node, parent, cls, index)
            inside = self.class_of.get(index, NONE)
            numbered = [
                (child, index, NONE if isinstance(child, cst.ClassDef) else inside, self._reserve()) for child in children
            ]
            self.headers[index] = self.headers[index]._replace(children=tuple(n[3] for n in numbered))  # type: ignore[union-attr]  # set in _one
            for child, _, _, number in numbered:
                if isinstance(child, cst.ClassDef):
                    self._declare(child, index, number)
            pending.extend(reversed(numbered))

    def _reserve(self) -> int:
        self.headers.append(None)
        self.programs.append(None)  # type: ignore[arg-type]  # filled before anyone reads it
        return len(self.headers) - 1

    def _one(self, node: Any, parent: int, cls: int, index: int) -> list[Any]:
        scope = self.scope_of[id(node)]
        start, end = (0, len(self.module.text)) if scope.kind == "module" else self.spans[id(node)]
        program = Statements(self, scope, start)
        body = node if scope.kind == "module" else node.body
        if isinstance(node, cst.Lambda):
            value = program.value(body)
            program.at(body)
            program.emit(RETURN, value)
        else:
            program.body(body)
        encoded = program.finish()
        self.programs[index] = encoded
        name_node = getattr(node, "name", None)
        decorators = getattr(node, "decorators", ())
        if decorators:
            start = min(start, *(self.spans[id(d)][0] for d in decorators))
        qualname = scope.symbol
        if isinstance(node, cst.Lambda):
            qualname = f"{scope.parent.symbol if scope.parent else ''}.<lambda>".lstrip(".")
        self.headers[index] = Function(
            name=scope.name or ("<lambda>" if scope.kind == "lambda" else ""),
            qualname=qualname,
            kind=scope.kind,
            is_async=scope.is_async,
            is_generator=program.is_generator,
            parent=parent,
            cls=cls,
            params=tuple(self._params(node.params)) if hasattr(node, "params") else (),
            returns=type_expr(node.returns.annotation) if getattr(node, "returns", None) is not None else None,
            decorators=tuple(decorator(d.decorator) for d in decorators),
            children=(),
            span=(start, end),
            name_span=self.spans.get(id(name_node), (start, start)),
            digest=encoded.digest,
            docstring=scope.kind in ("def", "class", "module") and has_docstring(body),
            abstract=scope.kind == "def" and is_abstract(body),
        )
        by_id = {id(child.node): child.node for child in self._nested(scope)}
        return [by_id[number] for number in program.children]

    def _nested(self, scope: Scope) -> list[Scope]:
        """Functions and classes created in a scope, those inside its comprehensions included."""
        found: list[Scope] = []
        stack = list(scope.children)
        while stack:
            child = stack.pop()
            if child.kind == "comprehension":
                stack.extend(child.children)
            else:
                found.append(child)
        return found

    def _params(self, params: cst.Parameters) -> list[Param]:
        found: list[Param] = []
        kinds = {id(p): "positional" for p in params.posonly_params} | {id(p): "keyword" for p in params.kwonly_params}
        if isinstance(params.star_arg, cst.Param):
            kinds[id(params.star_arg)] = "vararg"
        if params.star_kwarg is not None:
            kinds[id(params.star_kwarg)] = "kwarg"
        for param in all_parameters(params):
            annotation = None if param.annotation is None else type_expr(param.annotation.annotation)
            default = None if param.default is None else constant(param.default)
            found.append(Param(param.name.value, kinds.get(id(param), "normal"), annotation, param.default is not None, default))
        return found

    # --- classes ---
    def _declare(self, node: cst.ClassDef, parent: int, body: int) -> None:
        scope = self.scope_of[id(node)]
        fields: dict[str, Field] = {}
        for statement in node.body.body:
            for small in getattr(statement, "body", ()) if isinstance(statement, cst.SimpleStatementLine) else ():
                if isinstance(small, cst.AnnAssign) and isinstance(small.target, cst.Name):
                    name = small.target.value
                    offset = self.spans[id(small)][0]
                    fields[name] = Field(name, type_expr(small.annotation.annotation), small.value is not None, offset)
                elif isinstance(small, cst.Assign):
                    for target in small.targets:
                        for name in target_names(target.target):
                            fields.setdefault(name, Field(name, None, True, self.spans[id(small)][0]))
        self.class_of[body] = len(self.classes)
        self.classes.append(
            Class(
                name=node.name.value,
                qualname=scope.symbol,
                body=body,
                parent=parent,
                bases=tuple(type_expr(base.value) for base in node.bases if base.star == ""),
                keywords=tuple(k.keyword.value for k in node.keywords if k.keyword is not None),
                decorators=tuple(decorator(d.decorator) for d in node.decorators),
                fields=tuple(fields.values()),
                methods=(),
                span=self.spans[id(node)],
            )
        )

    # --- the rest of the file ---
    def _imports(self) -> list[ImportFact]:
        index_of = self._function_of_scope()
        found: list[ImportFact] = []
        for scope in self.module.scopes:
            nodes = [*scope.nodes(cst.Import, cst.ImportFrom, *_LAZY)]
            guards = self._guards(scope) if nodes else []
            for node in nodes:
                start = self.spans[id(node)][0]
                guard = next((word for word, low, high in guards if low <= start < high), "")
                function = index_of[id(scope)]
                if type(node).__name__ in ("Import", "LazyImport"):
                    for alias in node.names:
                        path, local = dotted(alias.name), imported_name(alias)
                        whole = alias.asname is not None
                        found.append(ImportFact(local, path if whole else path.partition(".")[0], "", function, guard, start))
                        if not whole and "." in path:
                            found.append(ImportFact("", path, "", function, guard, start))
                    continue
                path = "." * len(node.relative) + (dotted(node.module) if node.module is not None else "")
                if isinstance(node.names, cst.ImportStar):
                    found.append(ImportFact("", path, "*", function, guard, start))
                else:
                    for alias in node.names:
                        found.append(ImportFact(imported_name(alias), path, dotted(alias.name), function, guard, start))
        return sorted(found, key=lambda fact: fact.offset)

    def _function_of_scope(self) -> dict[int, int]:
        """Index of the function whose program a scope belongs to."""
        by_span = {(h.kind, h.span[1], h.name_span): i for i, h in enumerate(self.headers) if h is not None}
        index: dict[int, int] = {}
        for scope in self.module.scopes:  # parents come first
            if scope.kind == "module":
                index[id(scope)] = 0
            elif scope.kind == "comprehension":
                index[id(scope)] = index[id(scope.parent)]
            else:
                start, end = self.spans[id(scope.node)]
                name = self.spans.get(id(getattr(scope.node, "name", None)), (start, start))
                index[id(scope)] = by_span.get((scope.kind, end, name), 0)
        return index

    def _guards(self, scope: Scope) -> list[tuple[str, int, int]]:
        guards: list[tuple[str, int, int]] = []
        for node in scope.nodes(cst.If):
            if dotted(node.test).rpartition(".")[2] == "TYPE_CHECKING":
                guards.append(("type_checking", *self.spans[id(node.body)]))
        for node in scope.nodes(cst.Try, cst.TryStar):
            names = [dotted(t.value if isinstance(t, cst.Element) else t) for h in node.handlers for t in _types(h)]
            if any(n in ("ImportError", "ModuleNotFoundError", "Exception") for n in names):
                guards.append(("import_error", *self.spans[id(node)]))
        return guards

    def _exports(self) -> tuple[str, ...] | None:
        top = self.module.scopes[0]
        for node in top.nodes(cst.Assign):
            if any("__all__" in target_names(t.target) for t in node.targets) and isinstance(node.value, cst.List | cst.Tuple):
                words = [e.value for e in node.value.elements]
                return tuple(literal_text(w.value)[1] for w in words if isinstance(w, cst.SimpleString))
        return None

    def _statements(self) -> list[Statement]:
        locate, spans = self.module.lines.locate, self.spans
        found: list[Statement] = []
        for scope in self.module.scopes:
            for node in scope.nodes(*SIMPLE):
                start, end = spans[id(node)]
                last = locate(end)[0]
                found.append(Statement(locate(start)[0], last, last, 0))
            for node in scope.nodes(*COMPOUND):
                start, end = spans[id(node)]
                decorators = getattr(node, "decorators", ())
                first = min(start, *(spans[id(d)][0] for d in decorators)) if decorators else start
                block = node.cases[0] if isinstance(node, cst.Match) else node.body
                inner = block.body[0] if isinstance(block, cst.IndentedBlock) and block.body else block
                header = self._header_end(start, spans[id(inner)][0] if id(inner) in spans else end)
                found.append(Statement(locate(first)[0], header, locate(end)[0], int(isinstance(node, cst.FunctionDef | cst.ClassDef))))
            for node in scope.nodes(cst.ExceptHandler, cst.ExceptStarHandler):
                start, end = spans[id(node)]
                found.append(Statement(locate(start)[0], locate(start)[0], locate(end)[0], 0))
        return sorted(set(found))

    def _header_end(self, start: int, inner: int) -> int:
        """The last line of a header: that of the colon before the first statement of the block."""
        colon = self.module.text.rfind(":", start, inner)
        text = self.module.text
        while colon > start:  # a colon inside a comment between header and body does not count
            line_start = max(text.rfind("\n", start, colon), start)
            if "#" not in text[line_start:colon]:
                break
            colon = text.rfind(":", start, line_start)
        return self.module.lines.locate(max(colon, start))[0]

    def _import_line(self) -> int:
        """The line before which an import can be added: after the docstring and `__future__`."""
        line = 1
        for rank, statement in enumerate(self.module.tree.body):
            if not isinstance(statement, cst.SimpleStatementLine):
                break
            small = statement.body[0]
            documentation = rank == 0 and isinstance(small, cst.Expr) and isinstance(small.value, cst.SimpleString)
            future = isinstance(small, cst.ImportFrom) and small.module is not None and dotted(small.module) == "__future__"
            if not (documentation or future):
                break
            line = self.module.lines.locate(self.spans[id(statement)][1])[0] + 1
        return line

    def _dynamic(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for scope in self.module.scopes:
            for node in scope.nodes(cst.Call):
                name = dotted(node.func)
                if name in ("exec", "eval", "__import__", "importlib.import_module", "import_module"):
                    key = "exec" if name in ("exec", "eval") else "import"
                elif name in ("getattr", "setattr") and len(node.args) > 1 and not isinstance(node.args[1].value, cst.SimpleString):
                    key = "getattr"
                else:
                    continue
                counts[key] = counts.get(key, 0) + 1
        return counts


_LAZY = tuple(getattr(cst, name) for name in ("LazyImport", "LazyImportFrom") if hasattr(cst, name))


def _types(handler: Any) -> list[Any]:
    if handler.type is None:
        return []
    return list(handler.type.elements) if isinstance(handler.type, cst.Tuple) else [handler.type]


def constant(node: Any) -> Const | None:
    """The literal that an expression is, else None."""
    if isinstance(node, cst.Name):
        return {"True": Const("bool", "True"), "False": Const("bool", "False"), "None": Const("none", "")}.get(node.value)
    if isinstance(node, cst.SimpleString):
        return Const(*literal_text(node.value))
    if isinstance(node, cst.Integer):
        return Const("int", integer_text(node.value))
    if isinstance(node, cst.Float):
        return Const("float", float_text(node.value))
    if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Minus):
        inner = constant(node.expression)
        if inner is None or inner.kind not in ("int", "float"):
            return None
        return Const(inner.kind, inner.text[1:] if inner.text[0] == "-" else "-" + inner.text)
    return None


def decorator(node: Any) -> Decorator:
    """`name` is "" for a decorator that is no dotted name."""
    if isinstance(node, cst.Call):
        args = tuple(constant(a.value) for a in node.args if a.keyword is None and a.star == "")
        keywords = tuple((a.keyword.value, constant(a.value)) for a in node.args if a.keyword is not None)
        return Decorator(dotted(node.func), True, args, keywords)
    return Decorator(dotted(node), False)


def has_docstring(block: Any) -> bool:
    """Whether the first statement of a suite is a string."""
    first = block.body[0] if block.body else None
    if isinstance(first, cst.SimpleStatementLine):
        first = first.body[0]
    return isinstance(first, cst.Expr) and isinstance(first.value, cst.SimpleString | cst.ConcatenatedString)


def is_abstract(block: Any) -> bool:
    """Whether a body does nothing: documentation, `...`, `pass`, `raise NotImplementedError`."""
    for statement in block.body:
        smalls = statement.body if isinstance(statement, cst.SimpleStatementLine) else [statement]
        for small in smalls:
            if isinstance(small, cst.Pass):
                continue
            if isinstance(small, cst.Expr) and isinstance(small.value, cst.SimpleString | cst.Ellipsis | cst.ConcatenatedString):
                continue
            if isinstance(small, cst.Raise):
                raised = small.exc.func if isinstance(small.exc, cst.Call) else small.exc
                if dotted(raised) == "NotImplementedError":
                    continue
            return False
    return True


def lower(module: SourceModule) -> tuple[FileFacts, list[Encoded]]:
    """Facts and encoded programs of a parsed module. The programs stand in the order of `FileFacts.functions`."""
    facts, programs = Lowering(module).run()
    return facts._replace(classes=tuple(_with_methods(cls, facts) for cls in facts.classes)), programs


def _with_methods(cls: Class, facts: FileFacts) -> Class:
    """The methods of a class in order; of several definitions of a name the last one wins."""
    methods: dict[str, int] = {}
    for child in facts.functions[cls.body].children:
        if facts.functions[child].kind == "def":
            methods[facts.functions[child].name] = child
    return cls._replace(methods=tuple(methods.items()))
