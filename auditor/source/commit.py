"""The files of a commit, read into memory. The work tree and the index are neither read nor touched."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from auditor.source.git import LARGEST_ANSWER, Call, GitError

_HEADER_WORDS = 3  # of an object in the answer of cat-file


class TreeFile(NamedTuple):
    """`path` is relative to the folder, with slashes; `mode` as git has it (100644, 100755, 120000 for a link); `blob`
    names the content; `size` is in bytes."""

    path: str
    mode: str
    blob: str
    size: int


def commit_of(root: str, revision: str) -> str | None:
    """The full name of the commit that a revision means, None if git knows of none. Raises GitError."""
    if not revision or revision.startswith("-") or not revision.isprintable():
        return None
    answer = _ask(root, ["rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"], accepted=(0, 1, 128))
    return answer.decode("ascii", "replace").strip() or None


def merge_base(root: str, one: str, other: str) -> str | None:
    """The best common ancestor of two commits, None if there is none here. Raises GitError."""
    return _ask(root, ["merge-base", one, other], accepted=(0, 1)).decode("ascii", "replace").strip() or None


def is_shallow(root: str) -> bool:
    """Whether the history is cut off, as in a clone with `--depth`. Raises GitError."""
    return _ask(root, ["rev-parse", "--is-shallow-repository"]).strip() == b"true"


def tree(root: str, commit: str) -> list[TreeFile]:
    """The files of a commit at or below `root`, in the order of git. Raises GitError."""
    files: list[TreeFile] = []
    for entry in _ask(root, ["ls-tree", "-r", "-z", "-l", commit]).split(b"\0"):
        if entry:
            facts, _, path = entry.partition(b"\t")
            mode, _, blob, size = facts.decode("ascii").split()
            files.append(TreeFile(os.fsdecode(path), mode, blob, int(size) if size.isdigit() else 0))
    return files


def renames(root: str, old: str, new: str) -> dict[str, str]:
    """Path in one commit -> path in another, for files below `root` that git takes for renamed. Raises GitError."""
    options = ["-r", "-z", "-M", "--name-status", "--diff-filter=R", "--no-ext-diff", "--relative"]
    words = [os.fsdecode(word) for word in _ask(root, ["diff-tree", *options, old, new]).split(b"\0")]
    return {words[rank + 1]: words[rank + 2] for rank in range(0, len(words) - 2, 3)}


def blobs(root: str, files: Iterable[TreeFile]) -> dict[str, bytes]:
    """The contents, by name of the blob, in one process per 128 MB. Raises GitError, also for objects that a partial
    clone has not fetched."""
    sizes = {file.blob: file.size for file in files}
    batches: list[list[str]] = []
    room = 0
    for name in sorted(sizes):
        room -= sizes[name] + len(name) + 32
        if room < 0:
            batches.append([])
            room = LARGEST_ANSWER // 2 - sizes[name]
        batches[-1].append(name)
    found: dict[str, bytes] = {}
    for batch in batches:
        with tempfile.TemporaryFile() as names:  # with pipes on both sides each end could wait for the other
            names.write("".join(f"{name}\n" for name in batch).encode("ascii"))
            names.seek(0)
            found |= _contents(_ask(root, ["cat-file", "--batch"], stdin=names.fileno()))
    return found


def _contents(answer: bytes) -> dict[str, bytes]:
    """The answer of `cat-file --batch`: `name type size`, content and a line feed; `name missing` for what is lost."""
    found: dict[str, bytes] = {}
    at = 0
    while at < len(answer):
        end = answer.index(b"\n", at)
        words = answer[at:end].decode("ascii", "replace").split()
        if len(words) != _HEADER_WORDS or words[1] != "blob":
            message = "objects of the commit are missing, as in a clone with --filter; fetch them without it"
            raise GitError(message)
        size = int(words[2])
        found[words[0]] = answer[end + 1 : end + 1 + size]
        at = end + size + 2
    return found


def _ask(root: str, command: Sequence[str], accepted: Sequence[int] = (0,), stdin: int | None = None) -> bytes:
    call = Call(root, command, stdin=stdin)
    try:
        return call.answer(accepted)
    finally:
        call.close()
