"""Columns that are moved in from the future."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from seeding.site import Site
from seeding.source import Around, Injector, Source, innermost

RULE = "negative-shift-feature"
HOOKS = re.compile(r"populate_indicators|feature_engineering_\w+|(build|make|compute|create|add)_(\w+_)?features")
DECIDES = re.compile(HOOKS.pattern + r"|populate_(entry|exit|buy|sell)_trend")


def _in(pattern: re.Pattern[str], around: Around) -> bool:
    """Whether the innermost function is one of those: what it computes is meant to reach a signal or a model."""
    function = innermost(around)
    return function is not None and pattern.fullmatch(function.name.value) is not None


def _turned(source: Source, node: cst.CSTNode, around: Around) -> Iterator[Site]:
    """`.shift(k)` looks ahead instead of back."""
    match node:
        case cst.Call(
            func=cst.Attribute(attr=cst.Name(value="shift")),
            args=[cst.Arg(value=cst.Integer() as amount, keyword=None), *_],
        ):
            pass
        case _:
            return
    if amount.evaluated_value <= 0 or not _in(DECIDES, around):
        return
    start, _end = source.span(amount)
    yield Site(RULE, ".shift(k) -> .shift(-k)", source.function(around), (source.edit(start, start, "-"),))


def _moved(source: Source, node: cst.CSTNode, around: Around) -> Iterator[Site]:
    """A column that is computed in a feature hook is moved by one bar: `frame[NAME] = VALUE` and `{NAME: VALUE}`."""
    match node:
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Subscript() as target)], value=value):
            key = target.slice[0].slice
            if not isinstance(key, cst.Index) or not isinstance(key.value, cst.SimpleString):
                return
        case cst.DictElement(key=cst.SimpleString(), value=value):
            if not _in_frame(around):
                return
        case _:
            return
    if not _in(HOOKS, around) or not isinstance(value, cst.Call | cst.BinaryOperation | cst.Subscript | cst.Name):
        return
    if isinstance(node, cst.Assign) and not _decided_by(source, str(key.value.evaluated_value)):
        return
    if b".shift(" in source.text(value):
        return  # moved already: one bar ahead of that may be none
    start, end = source.outer(value)
    yield Site(
        RULE, "a feature column .shift(-1)", source.function(around),
        (source.edit(start, end, b"(" + source.data[start:end] + b").shift(-1)"),), end - start + 2, "", (start, end),
    )  # fmt: skip


def _decided_by(source: Source, column: str) -> bool:
    """Whether a hook that decides reads the column, and nothing moves it back. Of a column that is only drawn the future
    does no harm; a file without such hooks has its features for a model."""
    name = re.escape(column)
    if re.search(rf"([\"']{name}[\"']\]|\.{name})\s*\.(shift|rolling)\(", source.data.decode()):
        return False
    hooks = [
        node for node, _around in source.nodes if isinstance(node, cst.FunctionDef) and "_trend" in node.name.value
    ]
    texts = [b"\n".join(line.partition(b"#")[0] for line in source.text(hook).splitlines()) for hook in hooks]
    return not hooks or any(re.search(rf"[\"'.]{name}\b", text.decode()) for text in texts)


def _in_frame(around: Around) -> bool:
    """Whether a dictionary is the first argument of `pd.DataFrame`."""
    for node in reversed(around):
        if isinstance(node, cst.Call):
            return isinstance(node.func, cst.Attribute) and node.func.attr.value == "DataFrame"
        if isinstance(node, cst.BaseStatement):
            return False
    return False


INJECTORS = (
    Injector(RULE, ".shift(k) -> .shift(-k)", b".shift(", _turned),
    Injector(RULE, "a feature column .shift(-1)", b"def ", _moved),
)
