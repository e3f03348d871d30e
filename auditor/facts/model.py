"""The function IR and the facts of a file: frozen records of plain values, without syntax.

A function is a small program in three-address form over *places*. A place is a root (local, cell, global, temporary or
constant) and up to four selectors (`.attr`, `[constant]`, `[key]`). Operations name places by their index in the
function's own place table, so that a function that only moved, or whose neighbour changed, keeps its operations and
their hash. Positions stand apart from operations.

Nothing here was decided with the help of another file: callees, bases and annotations stay symbolic and complete.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

NONE = -1  # operand: absent


class Root(enum.IntEnum):
    LOCAL = 0  # parameter or local name; in a class body: a name of that namespace, else one outside
    CELL = 1  # local of an enclosing function
    GLOBAL = 2  # name of the module (in the module body too), or a builtin
    TEMP = 3  # `name` is the number
    CONST = 4  # `name` is the literal, `path` is empty


class Const(NamedTuple):
    """A literal. `kind` is str, bytes, int, float, complex, bool, none or ellipsis; `text` is its spelling: strings are
    their value, cut after 500 characters; integers are decimal; floats keep their digits, without underscores. In a
    `Format` also spec: how the part before it is formatted."""

    kind: str
    text: str


class Select(enum.IntEnum):
    ATTR = 0  # value: attribute name
    ITEM = 1  # value: Const
    KEY = 2  # value: operand of the key (int)


class Selector(NamedTuple):
    kind: Select
    value: str | Const | int


class Place(NamedTuple):
    root: Root
    name: str | int | Const
    path: tuple[Selector, ...] = ()


# --- operations -------------------------------------------------------------------------------------------------
# Fields named in lower case hold operands (indices of places) unless their type says otherwise.

OPERATORS = (
    "+", "-", "*", "/", "//", "%", "**", "@", "<<", ">>", "&", "|", "^",
    "not", "~", "and", "or",
    "<", "<=", ">", ">=", "==", "!=", "is", "is not", "in", "not in",
    "isinstance", "len>=", "len==", "keys", "hasattr",
)  # fmt: skip
OPERATOR = {word: number for number, word in enumerate(OPERATORS)}
COLLECTIONS = ("list", "tuple", "set", "slice", "dict", "generator")
COLLECTION = {word: number for number, word in enumerate(COLLECTIONS)}


class Store(NamedTuple):
    """`dst = src`; also a load into a temporary, where the moment of the reading matters."""

    dst: int
    src: int


class Delete(NamedTuple):
    place: int


class Unary(NamedTuple):
    dst: int
    operator: int
    operand: int


class Binary(NamedTuple):
    """`dst = left operator right`; `inplace` for augmented assignment, where dst is the target itself."""

    dst: int
    operator: int
    left: int
    right: int
    inplace: int


class Compare(NamedTuple):
    """One link of a comparison chain; also the tests of a `match` statement: `isinstance`, `hasattr` (right: the
    name), `len>=` and `len==` (left is a sequence, no string, of that length), `keys` (left is a mapping that has the
    key on the right; NONE: a mapping)."""

    dst: int
    operator: int
    left: int
    right: int


class Choose(NamedTuple):
    """Conditional expression whose sides are places or constants: `dst = then if test else other`. Only the side that
    is chosen is read."""

    dst: int
    test: int
    then: int
    other: int


class Bool(NamedTuple):
    """`and` / `or` with a place or a constant on the right, which is read only if the left does not decide."""

    dst: int
    operator: int
    left: int
    right: int


class Collect(NamedTuple):
    """Display of a list, tuple or set, or a slice (lower, upper, step). `starred` lists positions of `*items`. A
    comprehension is an empty display, filled by stores to its `[key]`, NONE for an element without key; that of a
    generator expression is filled where it is created, not where it is consumed."""

    dst: int
    kind: int
    items: tuple[int, ...]
    starred: tuple[int, ...]


class Table(NamedTuple):
    """Dict display; a key of NONE is `**value`."""

    dst: int
    keys: tuple[int, ...]
    values: tuple[int, ...]


class Unpack(NamedTuple):
    """`targets = src`, one level; `star` is the position of the starred target or NONE."""

    src: int
    star: int
    targets: tuple[int, ...]


class Format(NamedTuple):
    """f-string: its parts in order, literal text as constants. A constant of kind spec formats the part before it
    (`!r`, `:.2f`); each `{}` in it is filled from the parts that follow it."""

    dst: int
    parts: tuple[int, ...]


class Call(NamedTuple):
    """`dst = callee(*args, **keywords)`. `starred` lists positions of `*args`; a keyword named "" is `**value`. The
    callee stays a place, so that it can be resolved by name: it is read here, where Python reads it before the args."""

    dst: int
    callee: int
    args: tuple[int, ...]
    starred: tuple[int, ...]
    keywords: tuple[tuple[str, int], ...]


class Await(NamedTuple):
    dst: int
    src: int


class Yield(NamedTuple):
    """`delegate` is 1 for `yield from`."""

    dst: int
    src: int
    delegate: int


class Enter(NamedTuple):
    """`dst = src.__enter__()`. The `Exit` of the same `src` leaves this manager, also when the place was rebound."""

    dst: int
    src: int
    is_async: int


class Exit(NamedTuple):
    """Leaving a `with`; `raising` is 1 on the path of an exception, which the manager may swallow."""

    src: int
    is_async: int
    raising: int


class Iterate(NamedTuple):
    dst: int
    src: int
    is_async: int


class Next(NamedTuple):
    """Ends its block: TRUE with the next item in dst, FALSE when exhausted."""

    dst: int
    iterator: int
    is_async: int


class Closure(NamedTuple):
    """A function is created; `function` is its rank among the functions nested directly in this one. `defaults` are the
    values of the parameters that have one, in the order of the signature."""

    dst: int
    function: int
    decorators: tuple[int, ...]
    defaults: tuple[int, ...] = ()


class Define(NamedTuple):
    """A class is created; `body` is the rank of its body among the functions nested directly in this one."""

    dst: int
    body: int
    bases: tuple[int, ...]
    decorators: tuple[int, ...]


class Import(NamedTuple):
    """`path` as written: dots of a relative import first; `member` is "" for `import a.b` or "*"."""

    dst: int
    path: str
    member: str


class Catch(NamedTuple):
    """Entry of a handler; dst is NONE without `as`. No classes: bare `except`. An exception of another class goes on to
    the next handler. Where a class is computed, those operations stand before the Catch."""

    dst: int
    classes: tuple[int, ...]


class Raise(NamedTuple):
    """Without exception: the one that is handled in the nearest region of kind except around this block; in a `finally`
    that its ways share, that of the way by which it was entered."""

    exception: int
    cause: int


class Return(NamedTuple):
    src: int


class Branch(NamedTuple):
    """Ends its block with the edges TRUE and FALSE. `asserts` is 1 for the test of an assert statement."""

    test: int
    asserts: int


class Declare(NamedTuple):
    """`place: annotation` inside a function; `annotation` is the tree as JSON (see `annotations.written`)."""

    place: int
    annotation: str


class Opaque(NamedTuple):
    """What could not be lowered: the places that it reads and writes. The positional part of a class pattern is one: it
    reads the subject and the class, and writes a temporary per position."""

    reads: tuple[int, ...]
    writes: tuple[int, ...]


Op = (
    Store | Delete | Unary | Binary | Compare | Choose | Bool | Collect | Table | Unpack | Format | Call | Await | Yield
    | Enter | Exit | Iterate | Next | Closure | Define | Import | Catch | Raise | Return | Branch | Declare | Opaque
)  # fmt: skip

OPS: tuple[type, ...] = (
    Store, Delete, Unary, Binary, Compare, Choose, Bool, Collect, Table, Unpack, Format, Call, Await, Yield,
    Enter, Exit, Iterate, Next, Closure, Define, Import, Catch, Raise, Return, Branch, Declare, Opaque,
)  # fmt: skip


class Edge(enum.IntEnum):
    FALL = 0
    TRUE = 1
    FALSE = 2
    LOOP = 3
    FINALLY = 4
    RETURN = 5  # to the end of the function
    SWALLOW = 6  # after a manager's exit on the path of an exception, if the manager swallows it


END = -1  # edge target: the function is left


class Block(NamedTuple):
    """Operations [start, end) of the function; `edges` are (kind, target) pairs. Edges of exceptions are not listed: an
    exception in this block reaches the handlers and the cleanup of `region` first (NONE: it leaves the function), then
    those of its parent. A block that ends in Raise has no other way out.

    A `finally` that its ways in share is a region of that kind. Each way in is a block with one edge FINALLY to its first
    block; its last block has as many edges FINALLY, in the order of the numbers of the ways in."""

    start: int
    end: int
    region: int
    edges: tuple[tuple[Edge, int], ...]


class Region(NamedTuple):
    """A guarded part of a function. `handlers` are blocks that begin with Catch, in order. `cleanup` is the block of
    `finally` or of a manager's exit on the path of an exception, NONE if there is none. `kind` is try, with, or one
    that guards nothing: except, where an exception is being handled, the body of a handler or a cleanup; finally."""

    parent: int
    kind: str
    handlers: tuple[int, ...]
    cleanup: int


class Body(NamedTuple):
    """The program of one function, decoded. `spans[i]` is (start, end) of operation i: offsets into the file."""

    places: tuple[Place, ...]
    ops: tuple[Op, ...]
    spans: tuple[tuple[int, int], ...]
    blocks: tuple[Block, ...]
    regions: tuple[Region, ...]


# --- headers ----------------------------------------------------------------------------------------------------


class TypeExpr(NamedTuple):
    """An annotation as a tree. `kind`: name (text dotted), subscript (args[0] is the base), union, none, tuple (a
    bracketed list of arguments), literal, unknown."""

    kind: str
    text: str = ""
    args: tuple[TypeExpr, ...] = ()


class Param(NamedTuple):
    """`kind`: positional, normal, vararg, keyword, kwarg. `default` is a constant where it is one; `has_default`."""

    name: str
    kind: str
    annotation: TypeExpr | None
    has_default: bool
    default: Const | None


class Decorator(NamedTuple):
    """Dotted callee as written; `called` for `@name(...)`; `keywords` with constant values where they are constant."""

    name: str
    called: bool
    args: tuple[Const | None, ...] = ()
    keywords: tuple[tuple[str, Const | None], ...] = ()


class Function(NamedTuple):
    """Header of a function. `kind`: module, class, def, lambda, generator. `parent`: index of the enclosing function
    (NONE for the module body, index 0). `cls`: index of the class whose body holds it, else NONE. `digest`: of its
    operations with all names resolved, without positions. `span`: offsets, decorators included; `name_span`."""

    name: str
    qualname: str
    kind: str
    is_async: bool
    is_generator: bool
    parent: int
    cls: int
    params: tuple[Param, ...]
    returns: TypeExpr | None
    decorators: tuple[Decorator, ...]
    children: tuple[int, ...]
    span: tuple[int, int]
    name_span: tuple[int, int]
    digest: str
    docstring: bool
    abstract: bool  # the body is only `...`, `pass`, a docstring or `raise NotImplementedError`


class Field(NamedTuple):
    """A name annotated or assigned in a class body."""

    name: str
    annotation: TypeExpr | None
    has_default: bool
    offset: int


class Class(NamedTuple):
    """`bases` are dotted as written ("" where they are not names); `methods` maps a name to the function that wins."""

    name: str
    qualname: str
    body: int
    parent: int  # function that holds the class statement
    bases: tuple[TypeExpr, ...]
    keywords: tuple[str, ...]
    decorators: tuple[Decorator, ...]
    fields: tuple[Field, ...]
    methods: tuple[tuple[str, int], ...]
    span: tuple[int, int]


class ImportFact(NamedTuple):
    """`local` is bound to `path` (relative dots kept) or, with `member`, to that member of it; member "*" is a star
    import, with local "". `function` holds the statement. `guard`: "" , "type_checking" or "import_error"."""

    local: str
    path: str
    member: str
    function: int
    guard: str
    offset: int


class Directive(NamedTuple):
    """A comment of ours (`# auditor: ...`), kept because the triage reads it."""

    line: int
    column: int
    text: str
    alone_on_line: bool


class Statement(NamedTuple):
    """Lines of a statement: first, last of its header, last. Decorators belong to the header. `scope` is 1 for `def` and
    `class`."""

    line: int
    header_end: int
    end: int
    scope: int


class FileFacts(NamedTuple):
    """All that is known of one file without looking at another. It holds neither its path nor its module name, so that
    a renamed file is the same facts. `line_starts` are offsets; `exports` is `__all__` or None; `newline_at` is the
    line before which an import can be added; `dynamic` counts uses of exec, getattr with a computed name, imports by
    name; `encoding` as declared."""

    functions: tuple[Function, ...]
    classes: tuple[Class, ...]
    imports: tuple[ImportFact, ...]
    exports: tuple[str, ...] | None
    comments: tuple[Directive, ...]
    statements: tuple[Statement, ...]
    line_starts: tuple[int, ...]
    import_line: int
    dynamic: tuple[tuple[str, int], ...]
    encoding: str
    extra: tuple[tuple[str, tuple[object, ...]], ...] = ()
