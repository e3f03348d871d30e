"""Index of a body: which operations write and read a place. Asked instead of looking through all operations again."""

from __future__ import annotations

from auditor.facts.model import Body, Root
from auditor.project.flow import reads, writes

Ranks = tuple[int, ...]


class Operands:
    """The operations of a body by the places that they write and read, in their order; and places by what they begin with."""

    __slots__ = ("_keyed", "_readers", "_rooted", "_writers", "body")

    def __init__(self, body: Body) -> None:
        self.body = body
        self._writers: dict[int, Ranks] = {}
        self._readers: dict[int, Ranks] | None = None
        self._rooted: dict[tuple[Root, object], Ranks] | None = None
        self._keyed: dict[int, Ranks] | None = None
        found: dict[int, list[int]] = {}
        for rank, op in enumerate(body.ops):
            for operand in writes(op):
                ranks = found.setdefault(operand, [])
                if not ranks or ranks[-1] != rank:
                    ranks.append(rank)
        self._writers = {operand: tuple(ranks) for operand, ranks in found.items()}

    def writers(self, operand: int) -> Ranks:
        """Operations that write exactly this place."""
        return self._writers.get(operand, ())

    def readers(self, operand: int) -> Ranks:
        """Operations that read exactly this place."""
        if self._readers is None:
            found: dict[int, list[int]] = {}
            for rank, op in enumerate(self.body.ops):
                for place in dict.fromkeys(reads(op)):
                    found.setdefault(place, []).append(rank)
            self._readers = {place: tuple(ranks) for place, ranks in found.items()}
        return self._readers.get(operand, ())

    def parts(self, operand: int) -> Ranks:
        """Places that begin with the same name or temporary as this one, itself included."""
        place = self.body.places[operand]
        return self.named(place.root, place.name)

    def named(self, root: Root, name: object) -> Ranks:
        """Places that begin with a name or temporary."""
        if self._rooted is None:
            found: dict[tuple[Root, object], list[int]] = {}
            for rank, place in enumerate(self.body.places):
                found.setdefault((place.root, place.name), []).append(rank)
            self._rooted = {key: tuple(ranks) for key, ranks in found.items()}
        return self._rooted.get((root, name), ())

    def keyed(self, operand: int) -> Ranks:
        """Places with a `[key]` that is exactly this place."""
        if self._keyed is None:
            found: dict[int, list[int]] = {}
            for rank, place in enumerate(self.body.places):
                for _, value in place.path:
                    if isinstance(value, int):
                        found.setdefault(value, []).append(rank)
            self._keyed = {key: tuple(ranks) for key, ranks in found.items()}
        return self._keyed.get(operand, ())
