"""A parsed module -> where its nodes stand: `spans` gives offsets; `LineStarts` makes lines and columns of them.

`PositionProvider` takes twice as long as the parse. This pass runs the same code generation, a third of the parse,
with a state that only counts: a token is appended to a list (in C), a node remembers how many tokens came before its
start and its end, and the lengths of the tokens are summed up once at the end. Offsets count code points.

`CodegenState` is not part of LibCST's public interface. It is used in this module only; `spans` says so when a release
of LibCST no longer has the hook. Code generation recurses, a few frames per level of nesting: run it on a deep stack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar

import libcst
from libcst import CSTNode

from auditor.source.text import LineStarts

try:
    from libcst._nodes.internal import CodegenState
except ImportError as missing:  # pragma: no cover - needs another LibCST
    raise ImportError(
        f"LibCST {libcst.LIBCST_VERSION} has no libcst._nodes.internal.CodegenState, on which positions rest; "
        "install a version of LibCST that auditor was tested with"
    ) from missing

__all__ = ["LineStarts", "Spans", "spans"]


@dataclass(frozen=True, slots=True)
class Spans:
    """Where each recorded node of one module stands.

    `table` maps `id(node)` to (start, end), code point offsets into the text; the end is exclusive. Ids are valid as
    long as the tree lives. `exact` says that generating the code gave the text back, character by character; where
    it is False the offsets come from line and column of `PositionProvider` and no fix may be applied to the file.
    """

    table: Mapping[int, tuple[int, int]]
    exact: bool


def spans(module: libcst.Module, text: str) -> Spans:
    """The spans of all nodes whose syntactic position LibCST records (expressions without their parentheses,
    statements without leading lines, blocks from their first to their last statement).

    `text` is the decoded text that `module` was parsed from, without byte order mark.
    """
    state = _State(module.default_indent, module.default_newline)
    module._codegen(state)
    if "".join(state.tokens) != text:
        return Spans(_provided(module, text), exact=False)
    return Spans(state.table(), exact=True)


class _Recording:
    """The one context of a pass, entered for every node: what is generated until the exit belongs to the node on
    top of the stack."""

    __slots__ = ("ends", "pop", "stack", "tokens")
    # The protocol looks both methods up on the class, and a callable that is no function is not bound: entering
    # does nothing, and costs no frame.
    __enter__: ClassVar[Any] = bool

    def __init__(self, tokens: list[str]) -> None:
        self.stack: list[int] = []
        self.pop = self.stack.pop
        self.ends: dict[int, int] = {}
        self.tokens = tokens

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.ends[self.pop()] = len(self.tokens)


class _State(CodegenState):
    """Counts tokens. `starts` and `ends` hold numbers of tokens, by id of the node, in order of start and of end."""

    __slots__ = ("add_token", "hoisted", "push", "recording", "starts")
    # Called around every node; `callable` ignores its argument without a Python frame.
    before_codegen: ClassVar[Any] = callable
    after_codegen: ClassVar[Any] = callable

    def __init__(self, default_indent: str, default_newline: str) -> None:
        super().__init__(default_indent, default_newline)
        self.add_token = self.tokens.append  # type: ignore[assignment]  # the C method itself: no frame per token
        self.recording = _Recording(self.tokens)
        self.push = self.recording.stack.append
        self.starts: dict[int, int] = {}
        self.hoisted: list[tuple[int, CSTNode | None, CSTNode]] = []

    def record_syntactic_position(  # type: ignore[override]  # a reusable context in place of a generator
        self, node: CSTNode, *, start_node: CSTNode | None = None, end_node: CSTNode | None = None
    ) -> _Recording:
        key = id(node)
        self.push(key)
        self.starts[key] = len(self.tokens)
        if end_node is not None:
            self.hoisted.append((key, start_node, end_node))
        return self.recording

    def table(self) -> dict[int, tuple[int, int]]:
        """The spans as offsets. A node that takes a border from a child (a `def` ends where its block ends, and the
        block where its last statement does) stands before the child in `hoisted`: resolve from the back."""
        offsets = list(accumulate(map(len, self.tokens), initial=0))
        # In a file without final newline LibCST generates one and takes it back: an end may count that token.
        offsets.append(offsets[-1])
        starts = self.starts
        table = {key: (offsets[starts[key]], offsets[end]) for key, end in self.recording.ends.items()}
        for key, start_node, end_node in reversed(self.hoisted):
            start, end = table[key]
            # Nodes without a position of their own (the bracket of an import list) end where the context ended.
            end = table.get(id(end_node), (start, end))[1]
            if start_node is not None:
                start = table.get(id(start_node), (start, end))[0]
            table[key] = (start, end)
        return table


def _provided(module: libcst.Module, text: str) -> dict[int, tuple[int, int]]:
    """The spans of LibCST's own provider, whose lines and columns refer to the generated code: good to find the
    line, no ground for a fix."""
    from libcst.metadata import MetadataWrapper, PositionProvider  # noqa: PLC0415 - slow to import, rarely needed

    lines = LineStarts(text)
    count = len(lines.starts)
    ranges = MetadataWrapper(module, unsafe_skip_copy=True).resolve(PositionProvider)
    table: dict[int, tuple[int, int]] = {}
    for node, where in ranges.items():
        start = lines.offset(min(where.start.line, count), where.start.column + 1)
        end = lines.offset(min(where.end.line, count), where.end.column + 1)
        table[id(node)] = (start, max(start, end))
    return table
