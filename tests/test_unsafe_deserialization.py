"""Rule unsafe-deserialization: its case, its grades, its verdicts on other tools, and its examples, executed."""

from __future__ import annotations

import functools
import hashlib
import importlib
import io
import itertools
import pickle
import re
import sys
import textwrap
import tomllib
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import libcst as cst
import pytest

from auditor.expect import compare, marks, read
from auditor.facts.codec import Program, encode
from auditor.facts.lower import lower
from auditor.finding import Confidence, Edit, Finding, Severity
from auditor.project.models import Models
from auditor.project.project import Project
from auditor.project.stubs import Typeshed
from auditor.rule import Rule, example, page, validate
from auditor.source.module import SourceModule
from auditor.tools.report import Report

UnsafeDeserialization: type[Rule] = importlib.import_module("auditor.rules.security.unsafe_deserialization").UnsafeDeserialization
ROOT = Path(__file__).parents[1]
CASE = ROOT / "fixtures" / "cases" / "security" / "unsafe_deserialization"
RULE = UnsafeDeserialization.id
MODEL = ROOT / "rules" / "_models" / "deserialization.toml"


@functools.cache
def stubs() -> Typeshed:
    return Typeshed.bundled()


def program(path: str, text: str) -> Program:
    facts, functions = lower(SourceModule(path, text, cst.parse_module(text)))
    return Program(encode(facts, functions))


def project(texts: Mapping[str, str]) -> Project:
    return Project({path: program(path, text) for path, text in texts.items()}, stubs(), Models().load([MODEL]))


def findings(texts: Mapping[str, str] | str) -> list[Finding]:
    files = {"bot.py": texts} if isinstance(texts, str) else texts
    return list(UnsafeDeserialization().check_project(project(files)))


@functools.cache
def case_texts() -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in sorted(CASE.glob("*.py"))}


@functools.cache
def case() -> Project:
    return project(case_texts())


@functools.cache
def case_findings() -> tuple[Finding, ...]:
    return tuple(UnsafeDeserialization().check_project(case()))


def grade(finding: Finding) -> str:
    severity, confidence = finding.grade
    return f"{severity.word} {confidence.word}"


# --- the page and the case ---
def test_page_is_complete() -> None:
    validate(UnsafeDeserialization)
    documented = page(UnsafeDeserialization)
    assert documented.chapter == "security"
    assert len(findings(example(documented.bad))) == 1
    assert findings(example(documented.good)) == []


def test_case_is_exact() -> None:
    assert compare(case_findings(), read(case_texts()), [RULE]) == []


def test_case_has_its_shapes() -> None:
    kinds = [mark.kind for path, text in case_texts().items() for mark in marks(path, text)]
    assert kinds.count("expect") >= 10
    assert kinds.count("trap") >= 12


def at(path: str, function: str) -> Finding:
    """The finding in a function of the case."""
    (found,) = [f for f in case_findings() if f.path == path and f.symbol == function]
    return found


@pytest.mark.parametrize(
    ("path", "function", "expected"),
    [
        ("snapshots.py", "Snapshots.latest", "critical certain"),  # a cache server, through attribute and helper
        ("snapshots.py", "decode", "critical certain"),  # a socket, through a parameter
        ("snapshots.py", "orders", "critical certain"),  # an HTTP body
        ("snapshots.py", "elsewhere", "medium possible"),  # unknown
        ("models.py", "Predictor.scaler", "high certain"),  # the newest file of a folder
        ("models.py", "Predictor.model", "high certain"),  # configuration
        ("models.py", "from_command_line", "high certain"),
        ("models.py", "from_environment", "high certain"),
        ("models.py", "fixed", "medium certain"),  # a constant path
        ("models.py", "by_caller", "medium likely"),  # a caller that is not in sight
        ("models.py", "by_version", "medium possible"),  # a version decides
        ("models.py", "everything", "medium likely"),
        ("rulebook.py", "full", "critical possible"),
        ("own.py", "Mixed.pop", "critical certain"),
    ],
)
def test_grades(path: str, function: str, expected: str) -> None:
    assert grade(at(path, function)) == expected


def test_unknown_is_only_possible() -> None:
    for finding in case_findings():
        if re.search(r"unknown|not known|not proven", finding.message):
            assert finding.confidence is Confidence.POSSIBLE


def test_proofs_end_at_the_load() -> None:
    for finding in case_findings():
        assert (finding.proof[-1].path, finding.proof[-1].line) == (finding.path, finding.line)


def test_order_of_files_does_not_matter() -> None:
    names = list(case_texts())
    turned = {name: case_texts()[name] for name in reversed(names)}
    assert findings(turned) == list(case_findings())


def test_marshal_is_one_step_lower() -> None:
    text = "import marshal, redis\n\ndef load(host):\n    return marshal.loads(redis.Redis(host).get('k'))\n"
    (finding,) = findings(text)
    assert finding.severity is Severity.HIGH


# --- transformations that must not change the verdict, and ones that must ---
NETWORK = """
from hmac import compare_digest, new
import pickle
import requests

KEY = b"shared"

def book(url):
    blob = requests.get(url, timeout=5).content
    return pickle.loads(blob)
"""


@pytest.mark.parametrize(
    "change",
    [
        ("blob", "payload"),
        ("import pickle\n", "import pickle as p\n"),
        ("    blob = requests", "    raw = requests"),
        ("return pickle.loads(blob)", "if True:\n        return pickle.loads(blob)"),
        ("pickle.loads(blob)", "pickle.loads(bytes(memoryview(blob)))"),
        ("pickle.loads(blob)", "pickle.Unpickler(__import__('io').BytesIO(blob)).load() if 0 else pickle.loads(blob)"),
    ],
)
def test_rewritten_code_keeps_its_verdict(change: tuple[str, str]) -> None:
    text = NETWORK.replace(*change)
    if change[1].startswith("import pickle as"):
        text = text.replace("pickle.loads", "p.loads")
    if "raw" in change[1]:
        text = text.replace("    return", "    blob = raw\n    return")
    assert "critical certain" in {grade(f) for f in findings(text)}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("pickle.loads", "json.loads"),
        ("requests.get(url, timeout=5).content", "pickle.dumps(url)"),
        ("    return", "    if not compare_digest(new(KEY, blob, 'sha256').digest(), url):\n        raise ValueError\n    return"),
    ],
)
def test_the_mend_silences(old: str, new: str) -> None:
    assert findings(NETWORK.replace(old, new)) == []


def test_helper_moves_to_another_file() -> None:
    texts = {
        "net.py": "import requests\n\ndef get(url):\n    return requests.get(url, timeout=5).content\n",
        "lib/__init__.py": "from .codec import thaw\n",
        "lib/codec.py": "import pickle\n\n\ndef thaw(blob):\n    return pickle.loads(blob)\n",
        "bot.py": "from lib import thaw\nfrom net import get\n\n\ndef book(url):\n    return thaw(get(url))\n",
    }
    (finding,) = findings(texts)
    assert (finding.path, grade(finding)) == ("lib/codec.py", "critical certain")
    assert [step.path for step in finding.proof] == ["net.py", "bot.py", "bot.py", "lib/codec.py"]


def test_calls_of_tests_say_nothing() -> None:
    texts = {
        "codec.py": "import pickle\n\n\ndef thaw(blob):\n    return pickle.loads(blob)\n",
        "tests/test_codec.py": "import pickle\nfrom codec import thaw\n\n\ndef test_thaw():\n    assert thaw(pickle.dumps(1)) == 1\n",
    }
    (finding,) = findings(texts)
    assert grade(finding) == "medium likely"


def test_own_bytes_of_an_open_attribute_are_not_proven() -> None:
    text = """
    import pickle

    class Undo:
        def __init__(self):
            self.state = pickle.dumps({})

        def restore(self):
            return pickle.loads(self.state)
    """
    assert findings(textwrap.dedent(text)) == []
    other = textwrap.dedent(text) + "\n\ndef reset(undo, blob):\n    undo.state = blob\n"
    (finding,) = findings(other)
    assert finding.confidence is not Confidence.CERTAIN


# --- fixes ---
def applied(text: str, edits: tuple[Edit, ...]) -> str:
    lines = text.splitlines(keepends=True)
    for edit in sorted(edits, key=lambda e: (e.line, e.column), reverse=True):
        assert edit.line == edit.end_line
        line = lines[edit.line - 1]
        lines[edit.line - 1] = line[: edit.column - 1] + edit.text + line[edit.end_column - 1 :]
    return "".join(lines)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import yaml\n\ndef load(path):\n    return yaml.load(open(path))\n", "yaml.safe_load(open(path))"),
        ("import torch\n\ndef load(path):\n    return torch.load(path)\n", "torch.load(path, weights_only=True)"),
        ("import torch\n\ndef load(path):\n    return torch.load(path, map_location=str('cpu'))\n", "str('cpu'), weights_only=True)"),
    ],
)
def test_fix(before: str, after: str) -> None:
    (finding,) = findings(before)
    assert finding.fix is not None
    assert finding.fix.applicability == "unsafe"  # it refuses what is no plain data
    mended = applied(before, finding.fix.edits)
    assert after in mended
    assert findings(mended) == []


def test_no_edit_where_it_would_not_run() -> None:
    (finding,) = findings("import yaml\n\ndef load(path):\n    return yaml.load(open(path), Loader=yaml.UnsafeLoader)\n")
    assert finding.fix is not None
    assert finding.fix.applicability == "display"
    assert finding.fix.edits == ()


# --- reports of other tools ---
def verdict(path: str, word: str, code: str = "S301", tool: str = "ruff") -> tuple[str, str] | None:
    lines = case_texts()[path].splitlines()
    line = next(number for number, text in enumerate(lines, 1) if word in text)
    return UnsafeDeserialization().judge(case(), Report(tool, code, path, line, 1, line, 2, "pickle"))


@pytest.mark.parametrize(
    ("path", "word", "reason"),
    [
        ("own.py", "pickle.loads(pickle.dumps(frame))", "own-bytes"),
        ("own.py", "self._states.pop())  # trap", "own-bytes"),
        ("own.py", "yaml.load(LIMITS", "own-bytes"),
        ("own.py", "marshal.loads(", "own-bytes"),
        ("checks.py", "pickle.loads(blob)  # trap: unsafe-deserialization -- a keyed", "verified-bytes"),
        ("checks.py", "pickle.loads(opened(", "verified-bytes"),
        ("checks.py", "the digest of the file is a constant", "verified-bytes"),
        ("checks.py", "return Plain(source)", "safe-loader"),
        ("rulebook.py", "Loader=PLAIN", "safe-loader"),
        ("models.py", "allow_pickle=ARRAYS", "safe-loader"),
    ],
)
def test_refutes_with_a_reason(path: str, word: str, reason: str) -> None:
    for tool, code in (("ruff", "S301"), ("bandit", "B301")):
        answer = verdict(path, word, code, tool)
        assert answer is not None
        assert answer[0] == reason
        assert answer[1]


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("own.py", "self._states.pop())  # expect"),
        ("checks.py", "-- the wrong outcome goes on"),
        ("checks.py", "-- other bytes were checked"),
        ("checks.py", "-- replaced after the check"),
        ("checks.py", "-- a CRC is no signature"),
        ("snapshots.py", "self.codec.loads"),
    ],
)
def test_confirms_beside_it(path: str, word: str) -> None:
    answer = verdict(path, word)
    assert answer is not None
    assert answer[0] == ""


@pytest.mark.parametrize("word", ["fetch())", "import json", "unpickler(stream)"])
def test_says_nothing_where_it_does_not_know(word: str) -> None:
    assert verdict("snapshots.py", word) is None


# --- executed ---
class Payload:
    """Touches a marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.marker,)


class Server:
    """A cache server into which somebody has put a blob."""

    def __init__(self, blob: bytes) -> None:
        self.blob = blob

    def get(self, _key: str) -> bytes:
        return self.blob


def executed(monkeypatch: pytest.MonkeyPatch, source: str, blob: bytes) -> None:
    library = types.ModuleType("redis")
    library.Redis = lambda _host: Server(blob)  # type: ignore[attr-defined]  # the stand-in for the library
    monkeypatch.setitem(sys.modules, "redis", library)
    namespace: dict[str, Any] = {}
    exec(compile(source, "<example>", "exec"), namespace)
    namespace["Snapshots"]("localhost").latest("BTC/USDT")


def test_bad_runs_the_blob(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    executed(monkeypatch, example(page(UnsafeDeserialization).bad), pickle.dumps(Payload(marker)))
    assert marker.exists()


def test_good_refuses_the_blob(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    with pytest.raises(ValueError, match=r"utf-8|Expecting"):
        executed(monkeypatch, example(page(UnsafeDeserialization).good), pickle.dumps(Payload(marker)))
    assert not marker.exists()


HEAD = """
import hashlib, hmac, io, joblib, marshal, numpy, pickle, yaml
KEY = b"shared"
PINNED = "{pinned}"

class Plain(pickle.Unpickler):
    def find_class(self, module, name):
        if module == "decimal":
            return super().find_class(module, name)
        raise pickle.UnpicklingError(name)

class Renaming(pickle.Unpickler):
    def find_class(self, module, name):
        return super().find_class(module, name)

def ours(blob):
    return hmac.compare_digest(hmac.new(KEY, blob[32:], hashlib.sha256).digest(), blob[:32])

def load(path):
"""
LOADS = {
    "pickle": "    return pickle.load(open(path, 'rb'))",
    "joblib": "    return joblib.load(path)",
    "unpickler": "    return Renaming(open(path, 'rb')).load()",
    "numpy": "    return numpy.load(path, allow_pickle=True)",
    "hash beside the bytes": """\
    blob = open(path, 'rb').read()
    if hashlib.sha256(blob).hexdigest() != hashlib.sha256(open(path, 'rb').read()).hexdigest():
        raise ValueError
    return pickle.loads(blob)""",
    "check of other bytes": """\
    blob = open(path, 'rb').read()
    if not hmac.compare_digest(hmac.new(KEY, KEY, hashlib.sha256).digest(), hmac.new(KEY, KEY, hashlib.sha256).digest()):
        raise ValueError
    return pickle.loads(blob)""",
}
REFUSES = {
    "restricted": "    return Plain(open(path, 'rb')).load()",
    "numpy by default": "    return numpy.load(path)",
    "tag": """\
    blob = open(path, 'rb').read()
    if not hmac.compare_digest(hmac.new(KEY, blob[32:], hashlib.sha256).digest(), blob[:32]):
        raise ValueError
    return pickle.loads(blob[32:])""",
    "pinned": """\
    if hashlib.sha256(open(path, 'rb').read()).hexdigest() != PINNED:
        raise ValueError
    return joblib.load(path)""",
}


def run(body: str, path: Path) -> None:
    namespace: dict[str, Any] = {}
    exec(compile(source(body), "<example>", "exec"), namespace)
    namespace["load"](path)


def source(body: str) -> str:
    return HEAD.format(pinned=hashlib.sha256(b"the model").hexdigest()) + body + "\n"


def planted(tmp_path: Path) -> tuple[Path, Path]:
    """A marker that does not exist yet, and a file that makes it when it is unpickled."""
    marker, file = tmp_path / "ran", tmp_path / "state.pkl"
    file.write_bytes(pickle.dumps(Payload(marker)))
    return marker, file


@pytest.mark.parametrize("name", sorted(LOADS))
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_found_runs_code(name: str, tmp_path: Path) -> None:
    marker, file = planted(tmp_path)
    assert len(findings(source(LOADS[name]))) == 1
    run(LOADS[name], file)
    assert marker.exists()


@pytest.mark.parametrize("name", sorted(REFUSES))
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_silent_runs_none(name: str, tmp_path: Path) -> None:
    marker, file = planted(tmp_path)
    assert findings(source(REFUSES[name])) == []
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        run(REFUSES[name], file)
    assert not marker.exists()


def test_yaml_tags(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    marker = tmp_path / "ran"
    text = f"!!python/object/apply:os.mkdir ['{marker}']"
    with pytest.raises(yaml.YAMLError):
        yaml.load(io.StringIO(text), Loader=yaml.CSafeLoader)
    assert not marker.exists()
    yaml.load(io.StringIO(text), Loader=yaml.Loader)
    assert marker.exists()


# --- the model ---
def test_every_loader_is_described() -> None:
    table = tomllib.loads(MODEL.read_text("utf-8"))
    for entry in itertools.chain(table["loads"], table["may_load"]):
        assert entry["note"] and entry["mend"], entry
        assert entry["takes"] in ("bytes", "file", "path", "stream", "nothing"), entry
        assert ("from" in entry and "kind" in entry) if entry["takes"] == "nothing" else "input" in entry, entry
    for entry in table["source"]:
        assert entry["note"] and entry["kind"], entry


def test_counterparts_are_those_of_the_family() -> None:
    assert set(UnsafeDeserialization.counterparts["ruff"]) == {"S301", "S302", "S506"}
    assert set(UnsafeDeserialization.counterparts["bandit"]) == {"B301", "B302", "B506", "B614"}
