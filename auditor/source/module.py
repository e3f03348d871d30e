"""Text of a file -> parsed module: one tree, its scopes, and an index of nodes by type in each scope.

One walk over the tree, with a worklist. A function, class, lambda or comprehension opens a scope; decorators, defaults,
annotations and bases belong to the scope outside, and so does the first iterable of a comprehension.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import libcst as cst

from auditor.source.nodes import CHILDREN
from auditor.source.positions import LineStarts, Spans, spans

FUNCTIONS = (cst.FunctionDef, cst.Lambda)
COMPREHENSIONS = tuple(
    getattr(cst, name)
    for name in ("ListComp", "SetComp", "DictComp", "GeneratorExp", "StarredDictComp")
    if hasattr(cst, name)
)
_OPENS = frozenset((*FUNCTIONS, cst.ClassDef, *COMPREHENSIONS))


class Scope:
    """One namespace. `kind` is module, class, def, lambda or comprehension; `buckets` maps a node type to the nodes of
    this scope in source order; `bound` holds the names that the scope binds."""

    __slots__ = ("bound", "buckets", "children", "explicit_global", "explicit_nonlocal", "is_async", "kind", "node", "parent")

    def __init__(self, node: cst.CSTNode, parent: Scope | None, kind: str, is_async: bool) -> None:
        self.node = node
        self.parent = parent
        self.kind = kind
        self.is_async = is_async
        self.buckets: dict[type, list[Any]] = {}
        self.bound: set[str] = set()
        self.explicit_global: set[str] = set()
        self.explicit_nonlocal: set[str] = set()
        self.children: list[Scope] = []

    def nodes(self, *kinds: type) -> Iterator[Any]:
        for kind in kinds:
            yield from self.buckets.get(kind, ())

    @property
    def name(self) -> str:
        node = self.node
        return node.name.value if isinstance(node, cst.FunctionDef | cst.ClassDef) else ""

    @property
    def symbol(self) -> str:
        """Qualified name inside the module, "" for the module itself."""
        names: list[str] = []
        scope: Scope | None = self
        while scope is not None:
            if scope.name:
                names.append(scope.name)
            scope = scope.parent
        return ".".join(reversed(names))

    def enclosing_function(self) -> Scope | None:
        """The nearest def or lambda, this scope included; None at module and class level."""
        scope: Scope | None = self
        while scope is not None and scope.kind == "comprehension":
            scope = scope.parent
        return scope if scope is not None and scope.kind in ("def", "lambda") else None


class SourceModule:
    """A parsed file. `scopes` is in source order, the module's own first; positions are computed on first use."""

    def __init__(self, path: str, text: str, tree: cst.Module) -> None:
        self.path = path
        self.text = text
        self.tree = tree
        self.lines = LineStarts(text)
        self._spans: Spans | None = None
        self.scopes, self.scope_of = walk(tree)

    @classmethod
    def parse(cls, path: str, text: str) -> SourceModule:
        """Raises what `libcst.parse_module` raises; the caller words the notice."""
        return cls(path, text, cst.parse_module(text))

    @property
    def spans(self) -> Spans:
        if self._spans is None:
            self._spans = spans(self.tree, self.text)
        return self._spans

    def location(self, node: cst.CSTNode) -> tuple[int, int, int, int]:
        """(line, column, end line, end column) of a node, 1-based, end exclusive."""
        start, end = self.spans.table[id(node)]
        return (*self.lines.locate(start), *self.lines.locate(end))


def walk(tree: cst.Module) -> tuple[list[Scope], dict[int, Scope]]:
    """All scopes with their indexes, and for each scope-opening node its scope."""
    top = Scope(tree, None, "module", False)
    scopes: list[Scope] = []
    scope_of: dict[int, Scope] = {id(tree): top}
    pending: list[tuple[Scope, list[Any]]] = [(top, list(reversed(tree.body)))]
    table = CHILDREN
    while pending:
        scope, stack = pending.pop()
        scopes.append(scope)
        buckets = scope.buckets
        inner: list[tuple[Scope, list[Any]]] = []
        while stack:
            node = stack.pop()
            kind = type(node)
            getter = table.get(kind)
            if getter is None:
                continue
            bucket = buckets.get(kind)
            if bucket is None:
                buckets[kind] = [node]
            else:
                bucket.append(node)
            if kind in _OPENS:
                child, body, outside = _open(node, scope)
                scope_of[id(node)] = child
                scope.children.append(child)
                inner.append((child, body))
                stack.extend(outside)
                continue
            for value in getter(node):
                if type(value) is tuple or type(value) is list:
                    stack.extend(reversed(value))
                else:
                    stack.append(value)
        pending.extend(reversed(inner))
        _bind(scope)
    return scopes, scope_of


def _open(node: Any, parent: Scope) -> tuple[Scope, list[Any], list[Any]]:
    """The scope that `node` opens, the reversed roots of its body, and the reversed roots that stay outside."""
    kind = type(node)
    outside: list[Any] = []
    if kind is cst.FunctionDef:
        scope = Scope(node, parent, "def", node.asynchronous is not None)
        outside.extend(d.decorator for d in node.decorators)
        outside.append(node.type_parameters)
        _parameters(node.params, scope, outside)
        if node.returns is not None:
            outside.append(node.returns.annotation)
        return scope, [node.body], outside[::-1]
    if kind is cst.ClassDef:
        scope = Scope(node, parent, "class", False)
        outside.extend(d.decorator for d in node.decorators)
        outside.append(node.type_parameters)
        outside.extend(a.value for a in (*node.bases, *node.keywords))
        return scope, [node.body], outside[::-1]
    if kind is cst.Lambda:
        scope = Scope(node, parent, "lambda", False)
        _parameters(node.params, scope, outside)
        return scope, [node.body], outside[::-1]
    scope = Scope(node, parent, "comprehension", parent.is_async)
    first = node.for_in
    body: list[Any] = [node.key, node.value] if kind is cst.DictComp else [getattr(node, "elt", None) or node.value]
    clause = first
    while clause is not None:
        body.append(clause.target)
        scope.bound.update(target_names(clause.target))
        if clause is not first:
            body.append(clause.iter)
        body.extend(clause.ifs)
        clause = clause.inner_for_in
    return scope, body[::-1], [first.iter]


def _parameters(params: cst.Parameters, scope: Scope, outside: list[Any]) -> None:
    for param in all_parameters(params):
        scope.bound.add(param.name.value)
        if param.annotation is not None:
            outside.append(param.annotation.annotation)
        if param.default is not None:
            outside.append(param.default)


def all_parameters(params: cst.Parameters) -> list[cst.Param]:
    """Every parameter in the order of the signature."""
    found = [*params.posonly_params, *params.params]
    if isinstance(params.star_arg, cst.Param):
        found.append(params.star_arg)
    found.extend(params.kwonly_params)
    if params.star_kwarg is not None:
        found.append(params.star_kwarg)
    return found


def target_names(target: Any) -> list[str]:
    """Names that an assignment target binds."""
    names: list[str] = []
    stack = [target]
    while stack:
        node = stack.pop()
        if isinstance(node, cst.Name):
            names.append(node.value)
        elif isinstance(node, cst.Tuple | cst.List):
            stack.extend(e.value for e in node.elements)
        elif isinstance(node, cst.StarredElement):
            stack.append(node.value)
    return names


def imported_name(alias: cst.ImportAlias) -> str:
    """The local name that an alias binds: `import a.b` binds a."""
    if alias.asname is not None and isinstance(alias.asname.name, cst.Name):
        return alias.asname.name.value
    node: Any = alias.name
    while isinstance(node, cst.Attribute):
        node = node.value
    return str(node.value)


def _bind(scope: Scope) -> None:
    """Fill the names that the statements of this scope bind."""
    bound, nodes = scope.bound, scope.nodes
    for node in nodes(cst.AssignTarget, cst.AnnAssign, cst.AugAssign, cst.For, cst.Del):
        bound.update(target_names(node.target))
    for node in nodes(cst.FunctionDef, cst.ClassDef, cst.TypeAlias):
        bound.add(node.name.value)
    for node in nodes(cst.AsName):
        bound.update(target_names(node.name))
    for node in nodes(cst.Import, cst.ImportFrom, *_LAZY):
        if not isinstance(node.names, cst.ImportStar):
            bound.update(imported_name(alias) for alias in node.names)
    for node in nodes(cst.MatchAs, cst.MatchStar):
        if node.name is not None:
            bound.add(node.name.value)
    for node in nodes(cst.MatchMapping):
        if node.rest is not None:
            bound.add(node.rest.value)
    for node in nodes(cst.Global):
        scope.explicit_global.update(item.name.value for item in node.names)
    for node in nodes(cst.Nonlocal):
        scope.explicit_nonlocal.update(item.name.value for item in node.names)
    for node in nodes(cst.NamedExpr):  # binds in the nearest scope that is no comprehension
        owner = scope
        while owner.kind == "comprehension" and owner.parent is not None:
            owner = owner.parent
        names = target_names(node.target)
        owner.bound.update(n for n in names if n not in owner.explicit_global and n not in owner.explicit_nonlocal)
    bound -= scope.explicit_global
    bound -= scope.explicit_nonlocal


_LAZY = tuple(getattr(cst, name) for name in ("LazyImport", "LazyImportFrom") if hasattr(cst, name))
