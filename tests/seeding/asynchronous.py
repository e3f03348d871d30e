"""Calls that hold the loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import libcst as cst

from seeding.site import Site
from seeding.source import Around, Injector, Source, dotted, in_coroutine, innermost, nothing, statement_start

RULE = "blocking-call-in-async"


def _sleep(source: Source, node: cst.CSTNode, around: Around) -> Iterator[Site]:
    """`await asyncio.sleep(x)` becomes `time.sleep(x)`; a sleep of zero only lets others run."""
    match node:
        case cst.Await(expression=cst.Call(func=func, args=[cst.Arg(value=value, keyword=None)]) as call):
            pass
        case _:
            return
    if dotted(func) != "asyncio.sleep" or "asyncio" not in source.imported or not in_coroutine(around):
        return
    if isinstance(value, cst.Integer | cst.Float) and float(value.evaluated_value) == 0:
        return
    name, imports = source.importing("time")
    start, end = source.span(node)
    inner = source.span(call.func)[1]
    edit = source.edit(start, end, f"{name}.sleep".encode() + source.data[inner:end])
    yield Site(RULE, "await asyncio.sleep -> time.sleep", source.function(around), (edit, *imports))


def _direct_calls(source: Source) -> Iterator[tuple[cst.FunctionDef, cst.FunctionDef]]:
    """A coroutine and a plain function of this file that it calls, by name or as a method of its own class."""
    functions: dict[str, list[cst.FunctionDef]] = {}
    methods: dict[tuple[int, str], list[cst.FunctionDef]] = {}
    for node, around in source.nodes:
        if isinstance(node, cst.FunctionDef):
            owner = next(
                (outer for outer in reversed(around) if isinstance(outer, cst.FunctionDef | cst.ClassDef)), None
            )
            if owner is None:
                functions.setdefault(node.name.value, []).append(node)
            elif isinstance(owner, cst.ClassDef):
                methods.setdefault((id(owner), node.name.value), []).append(node)
    for node, around in source.nodes:
        caller = innermost(around)
        if not isinstance(node, cst.Call) or caller is None or caller.asynchronous is None:
            continue
        if isinstance(around[-1], cst.Await):
            continue
        match node.func:
            case cst.Name(value=name):
                found = functions.get(name, [])
            case cst.Attribute(value=cst.Name(value="self"), attr=cst.Name(value=name)):
                owner = next((outer for outer in reversed(around) if isinstance(outer, cst.ClassDef)), None)
                found = methods.get((id(owner), name), [])
            case _:
                continue
        if len(found) == 1:
            yield caller, found[0]


def _blocks(function: cst.FunctionDef) -> bool:
    """Whether a call of this function runs its body then and there."""
    if function.asynchronous is not None or function.decorators:
        return False
    return not any(isinstance(node, cst.Yield) for node in _own(function.body))


def _own(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The nodes of a body without those of functions inside it."""
    yield node
    for child in node.children:
        if not isinstance(child, cst.FunctionDef | cst.Lambda | cst.ClassDef):
            yield from _own(child)


def _helpers(files: Mapping[str, Source]) -> Iterator[Site]:
    """A plain function that a coroutine calls gets a `time.sleep` as its first statement."""
    for source in files.values():
        if b"async def" not in source.data:
            continue
        seen = set()
        for caller, function in _direct_calls(source):
            if id(function) in seen or not _blocks(function):
                continue
            seen.add(id(function))
            place = statement_start(source, function)
            if place is None:
                continue
            name, imports = source.importing("time")
            offset, indent = place
            edit = source.edit(offset, offset, indent + f"{name}.sleep(0.5)\n".encode())
            note = f"{caller.name.value}() calls {function.name.value}()"
            yield Site(
                RULE,
                "a helper of a coroutine sleeps",
                (source.path, source.span(function)[0]),
                (edit, *imports),
                len(indent),
                note,
            )


def _threads(files: Mapping[str, Source]) -> Iterator[Site]:
    """`asyncio.to_thread(f, x)` becomes `f(x)`, where `f` is the one function of its name and sleeps."""
    defined: dict[str, list[tuple[Source, cst.FunctionDef]]] = {}
    for source in files.values():
        for node, _around in source.nodes:
            if isinstance(node, cst.FunctionDef):
                defined.setdefault(node.name.value, []).append((source, node))
    for source in files.values():
        if b"asyncio.to_thread" not in source.data:
            continue
        for node, around in source.nodes:
            match node:
                case cst.Await(
                    expression=cst.Call(func=func, args=[cst.Arg(value=callee, keyword=None, star=""), *_]) as call
                ):
                    last = dotted(callee).rpartition(".")[2]
                case _:
                    continue
            found = defined.get(last, [])
            if dotted(func) != "asyncio.to_thread" or len(found) != 1 or not _blocks(found[0][1]):
                continue
            home, function = found[0]
            place = statement_start(home, function)
            if place is None:
                continue
            name, imports = home.importing("time")
            offset, indent = place
            sleep = home.edit(offset, offset, indent + f"{name}.sleep(0.5)\n".encode())
            start, end = source.span(node)
            rest = source.data[source.span(call.args[1])[0] : end] if len(call.args) > 1 else b")"
            direct = source.edit(start, end, source.text(callee) + b"(" + rest)
            note = f"{last}() is called on the loop"
            yield Site(
                RULE, "asyncio.to_thread(f, x) -> f(x)", source.function(around), (direct, sleep, *imports), 0, note
            )


INJECTORS = (
    Injector(RULE, "await asyncio.sleep -> time.sleep", b"asyncio.sleep", _sleep),
    Injector(RULE, "a helper of a coroutine sleeps", b"async def", nothing, _helpers),
    Injector(RULE, "asyncio.to_thread(f, x) -> f(x)", b"asyncio.to_thread", nothing, _threads),
)
