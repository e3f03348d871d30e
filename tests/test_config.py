"""`[tool.auditor]`: what is read, what is refused and how the refusal is worded, which source wins."""


from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from auditor.config import (
    DEFAULT_TESTS,
    Config,
    ConfigError,
    Gate,
    load,
    matches,
    rebase,
    validate_rules,
)
from auditor.finding import Confidence, Finding, Severity


def write(folder: Path, body: str, name: str = "pyproject.toml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(body, encoding="utf-8")
    return file


def finding(severity: Severity, confidence: Confidence, state: str = "new") -> Finding:
    return Finding("r", "a.py", 1, 1, 1, 2, "m", severity=severity, confidence=confidence, state=state)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    return tmp_path


def error(folder: Path, body: str) -> str:
    write(folder, body)
    with pytest.raises(ConfigError) as caught:
        load([folder])
    return str(caught.value)


class TestGlobs:
    @pytest.mark.parametrize(
        ("pattern", "path", "expected"),
        [
            ("tests/**", "tests/a.py", True),
            ("tests/**", "bot/tests/a.py", False),
            ("**/tests/**", "tests/a.py", True),
            ("**/tests/**", "bot/x/tests/unit/a.py", True),
            ("test_*.py", "bot/x/test_a.py", True),
            ("test_*.py", "bot/latest_a.py", False),
            ("conftest.py", "a/conftest.py", True),
            ("/conftest.py", "a/conftest.py", False),
            ("research", "research/old/a.py", True),
            ("bot/*.py", "bot/a.py", True),
            ("bot/*.py", "bot/x/a.py", False),
            ("a?c.py", "abc.py", True),
            ("a[0-3].py", "a2.py", True),
            ("a[!0-3].py", "a2.py", False),
            ("a*b*c", "aXbYbZc", True),
            ("a*b*c", "aXcYb", False),
        ],
    )
    def test_matches(self, pattern: str, path: str, expected: bool) -> None:
        assert matches(pattern, path) is expected

    def test_nothing_backtracks(self) -> None:
        begin = time.process_time()
        assert not matches("*a" * 100 + "b", "a" * 5_000)
        assert not matches("**/x/" * 100 + "y", "x/" * 2_000 + "z")
        assert time.process_time() - begin < 2

    @pytest.mark.parametrize(
        ("pattern", "prefix", "expected"),
        [
            ("services/bot/tests/**", "services/bot", ("/tests/**",)),
            ("services/*/old", "services/bot", ("/old",)),
            ("other/**", "services/bot", ()),
            ("services", "services/bot", ("**",)),
            ("services/**", "services/bot", ("**",)),
            ("**/tests/**", "services/bot", ("/**/tests/**",)),
            ("*.ipynb", "services/bot", ("*.ipynb",)),
        ],
    )
    def test_rebase(self, pattern: str, prefix: str, expected: tuple[str, ...]) -> None:
        assert rebase(pattern, prefix) == expected

    @pytest.mark.parametrize("pattern", ["a/b/tests/**", "**/x/*.py", "a/**/c.py", "*.py", "a/b", "/a/*/c.py"])
    @pytest.mark.parametrize("path", ["tests/t.py", "x/y.py", "c.py", "d/c.py", "x/c.py"])
    def test_rebased_patterns_name_the_same_files(self, pattern: str, path: str) -> None:
        inside = any(matches(inner, path) for inner in rebase(pattern, "a/b"))
        assert inside == matches(pattern, f"a/b/{path}")


class TestGate:
    def test_parse(self) -> None:
        assert Gate.parse("high:likely") == Gate(Severity.HIGH, Confidence.LIKELY) == Gate()
        assert Gate.parse("medium") == Gate(Severity.MEDIUM, Confidence.LIKELY)
        assert Gate.parse("low:possible") == Gate(Severity.LOW, Confidence.POSSIBLE)
        assert str(Gate.parse("never")) == "never"
        assert str(Gate.parse("critical:certain")) == "critical:certain"

    @pytest.mark.parametrize("text", ["hihg", "high:", "high:certian", "", "HIGH", "never:likely"])
    def test_refuses(self, text: str) -> None:
        with pytest.raises(ConfigError, match="unknown word"):
            Gate.parse(text)

    def test_trips(self) -> None:
        gate = Gate.parse("high:likely")
        assert gate.trips(finding(Severity.CRITICAL, Confidence.LIKELY))
        assert not gate.trips(finding(Severity.CRITICAL, Confidence.POSSIBLE))
        assert not gate.trips(finding(Severity.MEDIUM, Confidence.CERTAIN))
        assert not gate.trips(finding(Severity.CRITICAL, Confidence.CERTAIN, "baselined"))
        assert not Gate.parse("never").trips(finding(Severity.CRITICAL, Confidence.CERTAIN))


class TestReading:
    def test_the_example_of_the_manual(self, repository: Path) -> None:
        write(
            repository,
            """
            [tool.auditor]
            exclude = ["research/archive/**"]
            gate = "high:likely"
            require-reasons = true
            select = ["all"]
            ignore = ["magic-number"]
            baseline = "auditor-baseline.jsonl"
            [tool.auditor.paths]
            tests = ["tests/**"]
            scripts = ["tools/**"]
            [tool.auditor.tools]
            mode = "isolated"
            [tool.auditor.rules.god-class]
            max-methods = 30
            [[tool.auditor.overrides]]
            files = ["notebooks/**"]
            ignore = ["assertion-free-test"]
            severity = { god-class = "low" }
            reason = "exploratory"
            """,
        )
        config = load([repository])
        assert config.root == repository.resolve()
        assert config.exclude == ("research/archive/**",)
        assert config.baseline == "auditor-baseline.jsonl"
        assert config.context("tools/x.py") == "scripts"
        assert config.context("scripts/x.py") == "production"
        assert config.options("god-class", {"max_methods": 20, "max_lines": 900}) == {
            "max_methods": 30,
            "max_lines": 900,
        }
        assert config.severity("god-class", "architecture", "notebooks/a.py") is Severity.LOW
        assert config.severity("god-class", "architecture", "bot/a.py") is None
        assert config.origins["gate"] == "pyproject.toml"
        assert "allow-partial" not in config.origins

    def test_defaults(self, repository: Path) -> None:
        config = load([repository])
        assert config == Config(root=repository.resolve())
        assert config.tests == DEFAULT_TESTS
        contexts = {
            path: config.context(path) for path in ("a.py", "tests/a.py", "x/test_a.py", "n.ipynb", "scripts/s.py")
        }
        assert list(contexts.values()) == ["production", "tests", "tests", "scripts", "scripts"]

    def test_unknown_key(self, repository: Path) -> None:
        message = error(repository, '[tool.auditor]\ngat = "high"\n')
        assert message == "unknown key `gat` in [tool.auditor] of pyproject.toml; did you mean `gate`?"

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("exclude = 3", "`exclude` in [tool.auditor] of pyproject.toml must be a list of strings, not an integer"),
            (
                "exclude = [3]",
                "`exclude` in [tool.auditor] of pyproject.toml must be a list of strings, not an integer",
            ),
            ("gate = true", "`gate` in [tool.auditor] of pyproject.toml must be a string, not a boolean"),
            (
                "require-reasons = 1",
                "`require-reasons` in [tool.auditor] of pyproject.toml must be a boolean, not an integer",
            ),
            ("paths = 1", "`paths` in [tool.auditor] of pyproject.toml must be a table, not an integer"),
            ("paths.test = []", "unknown key `test` in [tool.auditor.paths] of pyproject.toml; did you mean `tests`?"),
            (
                "rules.god-class = 1",
                "`rules.god-class` in [tool.auditor] of pyproject.toml must be a table, not an integer",
            ),
            (
                "overrides = [{ignore = []}]",
                "`overrides` in [tool.auditor] of pyproject.toml has an entry without `files`",
            ),
            (
                'overrides = [{files = ["a"], seve = 1}]',
                "unknown key `seve` in [[tool.auditor.overrides]] of pyproject.toml",
            ),
            (
                'gate = "hihg"',
                "unknown word `hihg` in gate `hihg`; known: info, low, medium, high, critical; did you mean",
            ),
            ('exclude = ["../x/**"]', "`exclude` in [tool.auditor] of pyproject.toml has `../x/**`"),
            ('exclude = ["!x"]', "`exclude` in [tool.auditor] of pyproject.toml has `!x`"),
            ('exclude = ["x[a"]', "`exclude` in [tool.auditor] of pyproject.toml has `x[a`"),
            ('baseline = "/etc/passwd"', "`baseline` in [tool.auditor] of pyproject.toml is `/etc/passwd`"),
            ('baseline = "a/../../b"', "`baseline` in [tool.auditor] of pyproject.toml is `a/../../b`"),
            ("max-file-size = 90000000", "`max-file-size` in [tool.auditor] of pyproject.toml may lower the limit"),
            (
                "allow-partial = true",
                "`allow-partial` in [tool.auditor] of pyproject.toml is not taken from the audited",
            ),
            (
                'tools.mode = "project"',
                "`mode` in [tool.auditor.tools] of pyproject.toml is `project`, which lets plugins",
            ),
            ('"\\u001b[31m" = 1', "unknown key `<U+001B>[31m` in [tool.auditor]"),
        ],
    )
    def test_refusals(self, repository: Path, body: str, message: str) -> None:
        assert error(repository, f"[tool.auditor]\n{body}\n").startswith(message)

    def test_broken_toml_is_not_quoted(self, repository: Path) -> None:
        message = error(repository, '[tool.auditor]\nsecret_key_123 = "a"\nsecret_key_123 = "b"\n')
        assert message.startswith("pyproject.toml is not valid TOML (at line 3")
        assert "secret" not in message

    def test_deep_toml(self, repository: Path) -> None:
        assert "pyproject.toml" in error(repository, "[tool.auditor]\nselect = " + "[" * 100_000)


class TestRoot:
    def test_nearest_project_file_with_the_table(self, repository: Path) -> None:
        write(repository, "[tool.auditor]\n")
        write(repository / "bot", "[project]\nname = 'x'\n")
        (repository / "bot" / "deep").mkdir()
        assert load([repository / "bot" / "deep"]).root == repository.resolve()

    def test_git_root_then_first_path(self, repository: Path) -> None:
        file = write(repository / "bot" / "deep", "", "a.py")
        assert load([file]).root == repository.resolve()
        (repository / ".git").rmdir()
        assert load([file]).root == file.parent.resolve()

    def test_isolated_looks_at_no_project_file(self, repository: Path) -> None:
        write(repository / "bot", "[tool.auditor]\ngat = 1\n")
        config = load([repository / "bot"], isolated=True)
        assert config == Config(root=repository.resolve())

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFO on this system")
    def test_no_device_and_no_link_is_read(self, repository: Path) -> None:
        os.mkfifo(repository / "pyproject.toml")
        with pytest.raises(ConfigError, match="not a regular file"):
            load([repository])
        (repository / "pyproject.toml").unlink()
        write(repository, "[tool.auditor]\n", "other.toml")
        (repository / "pyproject.toml").symlink_to(repository / "other.toml")
        with pytest.raises(ConfigError, match="is not read: "):
            load([repository])


class TestExtend:
    def test_layers(self, repository: Path) -> None:
        write(
            repository,
            """
            [tool.auditor]
            gate = "low"
            select = ["leakage"]
            exclude = ["services/bot/old/**", "other/**", "*.tmp.py"]
            rules.god-class = { max-methods = 5, max-lines = 6 }
            overrides = [{ files = ["services/*/x.py"], severity = { god-class = "info" } }]
            """,
        )
        write(
            repository / "services" / "bot",
            """
            [tool.auditor]
            extend = "../../pyproject.toml"
            gate = "high"
            rules.god-class = { max-methods = 9 }
            overrides = [{ files = ["x.py"], severity = { god-class = "high" } }]
            """,
        )
        config = load([repository / "services" / "bot"], options={"select": ["money"]})
        assert config.root == (repository / "services" / "bot").resolve()
        assert config.gate == Gate.parse("high")
        assert config.select == ("money",)
        assert config.exclude == ("/old/**", "*.tmp.py")
        assert config.rules == {"god-class": {"max-methods": 9, "max-lines": 6}}
        assert config.overrides[0].files == ("/x.py",)
        assert config.severity("god-class", "architecture", "x.py") is Severity.HIGH
        assert config.origins["select"] == "the command line"
        assert config.origins["exclude"] == "../../pyproject.toml"

    @pytest.mark.parametrize(
        "target", ["/etc/passwd", "../../../pyproject.toml", "../secrets.toml", "sub/pyproject.toml"]
    )
    def test_stays_inside(self, repository: Path, target: str) -> None:
        write(repository / "services" / "sub", "[tool.auditor]\n")
        message = error(repository / "services", f'[tool.auditor]\nextend = "{target}"\n')
        assert message.startswith("`extend` in [tool.auditor] of pyproject.toml must name a pyproject.toml")

    def test_a_linked_folder_does_not_lead_out(self, tmp_path: Path) -> None:
        write(tmp_path / "outside", "[tool.auditor]\n")
        (tmp_path / "inside" / ".git").mkdir(parents=True)
        (tmp_path / "inside" / "link").symlink_to(tmp_path / "outside")
        assert "inside of the repository" in error(
            tmp_path / "inside", '[tool.auditor]\nextend = "link/pyproject.toml"\n'
        )

    def test_circle(self, repository: Path) -> None:
        message = error(repository, '[tool.auditor]\nextend = "pyproject.toml"\n')
        assert "leads in a circle" in message


class TestConfigFile:
    def test_outside_of_the_tree_it_is_trusted(self, tmp_path: Path) -> None:
        (tmp_path / "tree" / ".git").mkdir(parents=True)
        write(tmp_path / "tree", '[tool.auditor]\ngate = "low"\n')
        body = '[tool.auditor]\nallow-partial = true\nmax-file-size = 9000000\ntools.mode = "project"\n'
        given = write(tmp_path / "ci", body, "ci.toml")
        config = load([tmp_path / "tree"], config_file=given)
        assert config.allow_partial
        assert config.tools_mode == "project"
        assert config.gate == Gate.parse("low")
        inside = write(tmp_path / "tree", body, "ci.toml")
        with pytest.raises(ConfigError, match="not taken from the audited tree"):
            load([tmp_path / "tree"], config_file=inside)

    def test_missing(self, repository: Path) -> None:
        with pytest.raises(ConfigError, match="there is no such file"):
            load([repository], config_file=repository / "none.toml")

    def test_project_files_from_a_commit(self, repository: Path) -> None:
        write(repository, '[tool.auditor]\nselect = ["none-of-it"]\n')
        before = {repository.resolve() / "pyproject.toml": '[tool.auditor]\ngate = "never"\n'}
        config = load([repository], read=before.get)
        assert config.select == ("all",)
        assert config.gate == Gate.parse("never")


class TestSelection:
    @pytest.mark.parametrize(
        ("select", "ignore", "selected"),
        [
            (("all",), (), True),
            (("all",), ("god-class",), False),
            (("all",), ("architecture",), False),
            (("god-class",), ("architecture",), True),
            (("architecture",), ("god-class",), False),
            (("god-class",), ("god-class",), False),
            (("money",), (), False),
        ],
    )
    def test_more_specific_wins(self, select: tuple[str, ...], ignore: tuple[str, ...], selected: bool) -> None:
        config = Config(Path(), select=select, ignore=ignore)
        assert config.selected("god-class", "architecture") is selected
        assert config.selected("auditor-error", "auditor")

    def test_override(self, repository: Path) -> None:
        write(repository, '[tool.auditor]\noverrides = [{files = ["notebooks/**"], ignore = ["architecture"]}]\n')
        config = load([repository])
        assert not config.selected("god-class", "architecture", "notebooks/a.py")
        assert config.selected("god-class", "architecture", "bot/a.py")


class TestAgainstRules:
    known = {"god-class": {"max_methods": 20, "share": 0.5, "names": ("a",), "strict": False}, "auditor-error": {}}

    def check(self, **changes: object) -> None:
        validate_rules(Config(Path(), **changes), self.known, ["architecture", "auditor"])  # type: ignore[arg-type]

    def test_good(self) -> None:
        self.check(
            select=("architecture",),
            ignore=("ruff/B006", "external", "god-class"),
            rules={"god-class": {"max-methods": 3, "share": 1, "names": ["x"], "strict": True}},
        )

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"ignore": ("god-clas",)},
                "unknown rule or chapter `god-clas` in `ignore` of DEFAULTS; did you mean `god-class`?",
            ),
            ({"select": ("ruff/",)}, "unknown rule or chapter `ruff/` in `select`"),
            ({"ignore": ("auditor-error",)}, "`auditor-error` in `ignore` of DEFAULTS cannot be muted"),
            ({"rules": {"god-klass": {}}}, "unknown rule `god-klass` in TABLE] of DEFAULTS; did you mean `god-class`?"),
            ({"rules": {"god-class": {"max-method": 3}}}, "unknown option `max-method` in TABLE.god-class]"),
            (
                {"rules": {"god-class": {"max-methods": True}}},
                "`max-methods` in TABLE.god-class] of DEFAULTS must be an integer",
            ),
            (
                {"rules": {"god-class": {"names": [1]}}},
                "`names` in TABLE.god-class] of DEFAULTS must be a list of strings",
            ),
            ({"rules": {"god-class": {"strict": 1}}}, "`strict` in TABLE.god-class] of DEFAULTS must be a boolean"),
        ],
    )
    def test_refusals(self, changes: dict[str, object], message: str) -> None:
        with pytest.raises(ConfigError) as caught:
            self.check(**changes)
        expected = message.replace("DEFAULTS", "the defaults").replace("TABLE", "[tool.auditor.rules")
        assert str(caught.value).startswith(expected)

    def test_options_take_the_type_of_the_default(self) -> None:
        config = Config(Path(), rules={"god-class": {"share": 1, "names": ["x"]}})
        assert config.options("god-class", self.known["god-class"]) == {
            "max_methods": 20,
            "share": 1.0,
            "names": ("x",),
            "strict": False,
        }


def test_fingerprint_follows_every_value_but_the_root() -> None:
    plain = Config(Path("/a"))
    assert plain.fingerprint() == Config(Path("/b"), origins={"gate": "x"}).fingerprint()
    others = [Config(Path(), gate=Gate(None)), Config(Path(), rules={"r": {"a": 1}}), Config(Path(), exclude=("x",))]
    assert len({plain.fingerprint(), *(other.fingerprint() for other in others)}) == 4
