"""What git says about a folder: its files, its commit, whether it differs from it. Never writes, never locks, and runs
nothing that the repository's own configuration names (monitors, hooks, filters, pagers).

Uses `posix_spawn`, where it exists, in place of `subprocess`, which costs more to import than git to run.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = 60.0
LARGEST_ANSWER = 256 << 20

# Programs that a configuration could have git run are switched off; a user's global ignore file would make the
# result depend on the machine.
OPTIONS = (
    "--no-pager",
    "--literal-pathspecs",
    "-c", "core.fsmonitor=false",
    "-c", "core.hooksPath=" + os.devnull,
    "-c", "core.quotePath=off",
    "-c", "core.excludesFile=" + os.devnull,
    "-c", "core.untrackedCache=false",
    "-c", "diff.external=",
    "-c", "submodule.recurse=false",
    "-c", "protocol.allow=never",
)  # fmt: skip
KEPT_VARIABLES = ("HOME", "USERPROFILE", "XDG_CONFIG_HOME", "SYSTEMROOT", "TMPDIR", "TEMP", "TMP")


class GitError(Exception):
    """git could not answer: not installed, not a repository, refused, or too slow. The text says which."""


class Listing:
    """`tracked` and `untracked` hold paths relative to the folder, with slashes; ignored files are in neither. `commit`
    is None before the first one; `dirty` says that a tracked file differs from it."""

    __slots__ = ("commit", "dirty", "tracked", "untracked")

    def __init__(self, tracked: list[str], untracked: list[str], commit: str | None, dirty: bool) -> None:
        self.tracked = tracked
        self.untracked = untracked
        self.commit = commit
        self.dirty = dirty


def inside_work_tree(folder: str) -> bool:
    """Whether the folder or one above it has a `.git`; costs no process."""
    folder = os.path.abspath(folder)
    while True:
        if os.path.lexists(os.path.join(folder, ".git")):
            return True
        parent = os.path.dirname(folder)
        if parent == folder:
            return False
        folder = parent


def listing(root: str) -> Listing:
    """The files below `root` that git tracks, or would add, and the state of the work tree. Raises GitError."""
    calls: list[Call] = []
    try:
        for command in (
            ["ls-files", "-z", "-t", "--cached", "--others", "--exclude-standard"],
            ["rev-parse", "--verify", "--quiet", "HEAD"],
            ["config", "--null", "--name-only", "--get-regexp", r"^filter\."],
        ):
            calls.append(Call(root, command))
        files, head, filters = calls
        names = files.answer()
        commit = head.answer(accepted=(0, 1)).decode("ascii", "replace").strip() or None
        keys = filters.answer(accepted=(0, 1)).decode("utf-8", "surrogateescape").split("\0")
    finally:
        for call in calls:
            call.close()
    # A clean filter would run on every file whose time stamp changed: name each one, and say that it is empty.
    off = [
        option
        for key in keys
        if key and "=" not in key and "\n" not in key
        for option in ("-c", f"{key}={'false' if key.endswith('.required') else ''}")
    ]
    tracked: list[str] = []
    untracked: list[str] = []
    for entry in names.split(b"\0"):
        if entry:
            (untracked if entry.startswith(b"?") else tracked).append(os.fsdecode(entry[2:]))
    return Listing(sorted(set(tracked)), untracked, commit, _dirty(root, off))


def _dirty(root: str, options: Sequence[str]) -> bool:
    status = Call(
        root,
        ["status", "--porcelain=v1", "-z", "--untracked-files=no", "--ignore-submodules=all", "--no-renames"],
        options,
    )
    try:
        return bool(status.answer())
    finally:
        status.close()


def show(root: str, revision: str, path: str) -> bytes:
    """The content of `path` (relative to the top of the work tree) at a revision. Raises GitError."""
    if revision.startswith("-"):
        raise GitError(f"{revision!r} is not a revision")
    call = Call(root, ["cat-file", "blob", f"{revision}:{path}"])
    try:
        return call.answer()
    finally:
        call.close()


def executable() -> str:
    """The absolute path of git. Raises GitError. Relative entries of PATH are skipped: they would let the folder that
    is being audited bring its own."""
    for entry in os.environ.get("PATH", "").split(os.pathsep):
        if not os.path.isabs(entry):
            continue
        for name in ("git.exe", "git") if os.name == "nt" else ("git",):
            path = os.path.join(entry, name)
            try:
                found = stat.S_ISREG(os.stat(path).st_mode) and os.access(path, os.X_OK)
            except OSError:
                continue
            if found:
                return path
    raise GitError("git is not installed, or not in an absolute folder of PATH")


def environment(git: str) -> dict[str, str]:
    """What git gets to know of ours: enough to find the user's configuration (`safe.directory`), and nothing else."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {
        **kept,
        "PATH": os.pathsep.join(dict.fromkeys([os.path.dirname(git), *os.defpath.split(os.pathsep)])),
        "LC_ALL": "C",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ATTR_NOSYSTEM": "1",
    }


class Call:
    """One run of git, started at once, so that several can work at the same time."""

    def __init__(
        self, root: str, command: Sequence[str], options: Sequence[str] = (), stdin: int | None = None
    ) -> None:
        git = executable()
        real = os.path.realpath(root)
        if os.path.realpath(git).startswith(os.path.join(real, "")):
            raise GitError("the git in PATH lies inside the audited folder; it is not run")
        self.name = command[0]
        argv = [git, "-C", real, *OPTIONS, *options, *command]
        run = _Posix if hasattr(os, "posix_spawn") else _Portable
        self._process = run(argv, environment(git), stdin)

    def answer(self, accepted: Sequence[int] = (0,)) -> bytes:
        """The whole output. Raises GitError unless the exit status is one of `accepted`."""
        output, status = self._process.result()
        if status not in accepted:
            raise GitError(f"git {self.name} ended with status {status}")
        return output

    def close(self) -> None:
        """Ends the process if it still runs."""
        self._process.close()


class _Posix:
    def __init__(self, argv: list[str], env: dict[str, str], stdin: int | None = None) -> None:
        self._output, write = os.pipe()
        silent = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
        actions: list[tuple[object, ...]] = [
            silent if stdin is None else (os.POSIX_SPAWN_DUP2, stdin, 0),
            (os.POSIX_SPAWN_DUP2, write, 1),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ]
        self._pid: int | None = None
        try:
            self._pid = os.posix_spawn(argv[0], argv, env, file_actions=actions, setpgroup=0)
        except OSError as error:
            os.close(self._output)
            raise GitError(f"{argv[0]} cannot be started: {error.strerror}") from None
        finally:
            os.close(write)

    def result(self) -> tuple[bytes, int]:
        import select  # noqa: PLC0415 - not needed for the answer from the cache outside of git
        import time  # noqa: PLC0415 - the same

        chunks: list[bytes] = []
        size = 0
        end = time.monotonic() + SECONDS
        while True:
            ready, _, _ = select.select([self._output], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise GitError(f"git gave no answer within {SECONDS:.0f} seconds")
            chunk = os.read(self._output, 1 << 20)
            if not chunk:
                break
            chunks.append(chunk)
            size += len(chunk)
            if size > LARGEST_ANSWER:
                raise GitError(f"git answered more than {LARGEST_ANSWER >> 20} MB")
        assert self._pid is not None, "result() is asked for once"  # noqa: S101 - a fault of ours
        pid, self._pid = self._pid, None
        return b"".join(chunks), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def close(self) -> None:
        if self._output >= 0:
            os.close(self._output)
            self._output = -1
        if self._pid is not None:
            pid, self._pid = self._pid, None
            ended, _ = os.waitpid(pid, os.WNOHANG)
            if not ended:
                os.killpg(pid, 9)
                os.waitpid(pid, 0)


class _Portable:
    def __init__(self, argv: list[str], env: dict[str, str], stdin: int | None = None) -> None:
        import subprocess  # noqa: PLC0415 - slow to import, and only needed where posix_spawn is missing

        self._error = subprocess.TimeoutExpired
        try:
            self._process = subprocess.Popen(  # noqa: S603 - an absolute path and our own arguments
                argv, env=env, stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except OSError as error:
            raise GitError(f"{argv[0]} cannot be started: {error.strerror}") from None

    def result(self) -> tuple[bytes, int]:
        try:
            output, _ = self._process.communicate(timeout=SECONDS)
        except self._error:
            raise GitError(f"git gave no answer within {SECONDS:.0f} seconds") from None
        return output, self._process.returncode

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
