"""Files and messages that are read by something that executes them."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from seeding.site import Site
from seeding.source import Around, Injector, Source, dotted

RULE = "unsafe-deserialization"


def _pickled(source: Source, node: cst.CSTNode, around: Around) -> Iterator[Site]:
    """`json.load` and `json.loads` become those of pickle."""
    if (
        not isinstance(node, cst.Call)
        or dotted(node.func) not in ("json.load", "json.loads")
        or "json" not in source.imported
    ):
        return
    match node.args:
        case [cst.Arg(value=value, keyword=None), *_] if not isinstance(value, cst.SimpleString | cst.FormattedString):
            pass
        case _:
            return
    name, imports = source.importing("pickle")
    start, end = source.span(node)
    first = source.data[source.span(node.args[0])[0] : source.outer(value)[1]]
    text = f"{name}.{dotted(node.func).rpartition('.')[2]}(".encode() + first + b")"
    yield Site(RULE, "json.loads -> pickle.loads", source.function(around), (source.edit(start, end, text), *imports))


INJECTORS = (Injector(RULE, "json.loads -> pickle.loads", b"json.load", _pickled),)
