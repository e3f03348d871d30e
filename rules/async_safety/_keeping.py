"""The fix of a task that nothing keeps: into the set of tasks of its object, until it is done."""

from __future__ import annotations

from auditor.facts.model import Call, Root
from auditor.finding import Edit, Fix
from auditor.project.flow import reads
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.project.types import Instance, Type

TITLE = "Keep the handle as long as the task runs"
TASKS = frozenset({"asyncio.tasks.Task", "asyncio.Task", "_asyncio.Task", "asyncio.futures.Future", "_asyncio.Future"})
NAMES = ("task", "background", "pending", "spawned", "handle")


def keeping(project: Project, function: FunctionNode, op: int) -> Fix:
    """The fix for a call that makes a task. It has edits where the call is a statement of a method, and the object has
    one set of tasks."""
    keeper = _keeper(project, function)
    taken = {str(p.name) for p in function.body.places if p.root is not Root.CONST}
    name = next((n for n in NAMES if n not in taken), "")
    if not keeper or not name or not _is_statement(function, op):
        return Fix("display", TITLE)
    line, column, end_line, end_column = function.at(op)
    indent = " " * (column - 1)
    after = f"\n{indent}{keeper}.add({name})\n{indent}{name}.add_done_callback({keeper}.discard)"
    edits = (
        Edit(function.path, line, column, line, column, f"{name} = "),
        Edit(function.path, end_line, end_column, end_line, end_column, after),
    )
    return Fix("safe", f"Keep it in {keeper} until it is done", edits)


def _is_statement(function: FunctionNode, op: int) -> bool:
    """Whether a call is a statement, alone on its lines."""
    body = function.body
    call = body.ops[op]
    if not isinstance(call, Call) or any(call.dst in reads(step) for step in body.ops):
        return False
    first, _, last, _ = function.at(op)
    here = [s for s in function.module.facts.statements if first <= s.line <= last]
    if [(s.line, s.end) for s in here] != [(first, last)]:
        return False
    start, end = body.spans[op]
    others = (span for span in body.spans if not (start <= span[0] and span[1] <= end))
    return not any(function.module.position(other)[0] in (first, last) for other, _ in others)


def _keeper(project: Project, function: FunctionNode) -> str:
    """The one attribute of `self` that is a set of tasks, as it is written here."""
    cls = function.cls
    if not function.self_name or cls is None or function.header.kind != "def":
        return ""
    names = {field.name for c in cls.mro for field in c.header.fields}
    names.update(name for owner in cls.mro for name in project.linked.attributes.get(owner, ()))
    value = frozenset((Instance(cls),))
    found = [name for name in sorted(names) if _holds_tasks(project.world.attribute(value, name))]
    return f"{function.self_name}.{found[0]}" if len(found) == 1 else ""


def _holds_tasks(value: Type) -> bool:
    return bool(value) and all(
        isinstance(a, Instance) and a.cls == "builtins.set" and bool(a.args) and _are_tasks(a.args[0]) for a in value
    )


def _are_tasks(value: Type) -> bool:
    return bool(value) and all(isinstance(a, Instance) and a.cls in TASKS for a in value)
