"""Sites and what becomes of files when faults are put at them: every old line is known by its new number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Edit:
    """Bytes `start` to `end` of a file become `text`."""

    path: str
    start: int
    end: int
    text: bytes


@dataclass(frozen=True)
class Site:
    """One place for one fault. `function` tells which sites would be in each other's way.

    `fault` is the offset of the faulty expression inside the text of the first edit; `whole` are the bytes of the original
    that a finding may name as well, where the fault is a part of a longer expression.
    """

    rule: str
    injector: str
    function: tuple[str, int]
    edits: tuple[Edit, ...]
    fault: int = 0
    note: str = ""
    whole: tuple[int, int] = (0, 0)

    @property
    def path(self) -> str:
        return self.edits[0].path


@dataclass(frozen=True)
class _Shifts:
    """How the lines of one edited file moved."""

    before: bytes
    after: bytes
    edits: tuple[Edit, ...]

    def offset(self, old: int) -> int:
        """Where a byte went; of a replaced stretch, its first byte."""
        moved = 0
        for edit in self.edits:
            if edit.end > old or (edit.start == old < edit.end):
                break
            moved += len(edit.text) - (edit.end - edit.start)
        return old + moved

    def line(self, old: int) -> int:
        """The new number of an old line, counted from one."""
        starts = [0, *(index + 1 for index, byte in enumerate(self.before) if byte == 0x0A)]
        return line_of(self.after, self.offset(starts[min(old, len(starts)) - 1]))


@dataclass(frozen=True)
class Seeded:
    """Files with faults. `changed` holds those that differ."""

    changed: Mapping[str, bytes]
    shifts: Mapping[str, _Shifts]

    def line(self, path: str, old: int) -> int:
        """Where a line of the original is now."""
        return self.shifts[path].line(old) if path in self.shifts else old

    def faults(self, site: Site) -> set[tuple[str, int]]:
        """File and lines of the fault of a site."""
        shifts, edit = self.shifts[site.path], site.edits[0]
        rank = shifts.edits.index(edit)
        start = edit.start + sum(len(each.text) - (each.end - each.start) for each in shifts.edits[:rank])
        lines = {line_of(shifts.after, start + site.fault)}
        if site.whole[1] > 0:
            first, last = (line_of(shifts.after, shifts.offset(place)) for place in site.whole)
            lines.update(range(first, last + 1))
        return {(site.path, line) for line in lines}


def seed(files: Mapping[str, bytes], sites: Iterable[Site]) -> Seeded:
    """Put the faults of all these sites. Raises ValueError if two of them touch the same bytes."""
    by_path: dict[str, set[Edit]] = {}
    for site in sites:
        for edit in site.edits:
            by_path.setdefault(edit.path, set()).add(edit)
    changed, shifts = {}, {}
    for path, wanted in sorted(by_path.items()):
        edits, before = tuple(sorted(wanted)), files[path]
        parts, done = [], 0
        for edit in edits:
            if edit.start < done:
                raise ValueError(f"{path}: two faults at byte {edit.start}; put them in different batches")
            parts += [before[done : edit.start], edit.text]
            done = edit.end
        changed[path] = b"".join([*parts, before[done:]])
        shifts[path] = _Shifts(before, changed[path], edits)
    return Seeded(changed, shifts)


def batches(sites: Iterable[Site], size: int) -> list[list[Site]]:
    """Sites in groups of at most `size`, none of which has two of one function."""
    made: list[tuple[set[tuple[str, int]], list[Site]]] = []
    for site in sites:
        for functions, members in made:
            if len(members) < size and site.function not in functions:
                break
        else:
            functions, members = set(), []
            made.append((functions, members))
        functions.add(site.function)
        members.append(site)
    return [members for _, members in made]


def line_of(data: bytes, offset: int) -> int:
    """The line of a byte, from one."""
    return data.count(b"\n", 0, offset) + 1
