"""The wheel holds every rule and none of the fixtures, and it works beside whatever stands in the working directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from checkout import ROOT

from auditor import __version__, loader

BLOCKING = "import time\n\n\nasync def submit(client, order):\n    time.sleep(0.5)\n    await client.send(order)\n"
# What imports this is shadowed: it says so, and ends the process with a status that no run of ours has.
HOSTILE = "import sys\nsys.stderr.write('shadowed by {name}\\n')\nraise SystemExit(77)\n"
OTHERS = ("click", "libcst", "rich", "pathspec", "yaml", "mypy", "bandit", "sitecustomize", "auditor_hostile", "rules")


def run(*argv: str | Path, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AUDITOR_", "PYTHON"))}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    command = [str(word) for word in argv]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240, check=False)


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    # -P: a folder of ours named `build` would stand before the package of that name.
    succeeded(run(sys.executable, "-P", "-m", "build", "--no-isolation", "--wheel", "--outdir", out, ROOT, cwd=out))
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel is installed to, without its dependencies, which this interpreter has."""
    target = tmp_path_factory.mktemp("site")
    pip = ("-P", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--target", target, wheel)
    succeeded(run(sys.executable, *pip, cwd=target.parent))
    return target


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory that has a module of every name that we could import, and a plugin that nobody installed."""
    folder = tmp_path_factory.mktemp("hostile")
    shadow(folder, (*OTHERS, *sorted(sys.stdlib_module_names - before_us())))
    (folder / "rules").mkdir()
    (folder / "rules" / "__init__.py").write_text(HOSTILE.format(name="rules/"))
    plugin = folder / "evil-1.0.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (plugin / "entry_points.txt").write_text("[auditor.rules]\nevil = auditor_hostile\n")
    (folder / "bot").mkdir()
    (folder / "bot" / "orders.py").write_text(BLOCKING)
    return folder


def shadow(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / f"{name}.py").write_text(HOSTILE.format(name=name))


def before_us() -> set[str]:
    """What `python -m` itself imports before any line of the module that it is to run: out of our hands."""
    loaded = run(sys.executable, "-c", "import runpy, sys; print(*sys.modules)", cwd=Path(sys.prefix))
    return {name.partition(".")[0] for name in succeeded(loaded).split()}


def names_of(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def shipped(folder: str) -> set[str]:
    """The sources and tables below a folder of the checkout."""
    paths = (ROOT / folder).rglob("*")
    return {p.relative_to(ROOT).as_posix() for p in paths if p.is_file() and "__pycache__" not in p.parts}


def test_the_wheel_holds_all_of_the_program_and_nothing_else(wheel: Path) -> None:
    held = {name for name in names_of(wheel) if ".dist-info/" not in name}
    assert held == shipped("auditor") | {f"auditor/{name}" for name in shipped("rules")}
    assert {name.rpartition(".")[2] for name in held} >= {"py", "toml"}


def test_the_metadata_name_version_licence_and_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = {name.partition("/")[2]: name for name in archive.namelist() if ".dist-info/" in name}
        metadata = archive.read(info["METADATA"]).decode()
        commands = archive.read(info["entry_points.txt"]).decode()
    assert f"\nVersion: {__version__}\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert "auditor = auditor.__main__:main" in commands
    assert "licenses/LICENSE" in info


def test_the_rules_come_from_the_wheel(installed: Path, hostile: Path) -> None:
    program = (
        "import json, auditor, auditor.rules; from auditor import loader; loaded = loader.load(); "
        "print(json.dumps([auditor.__file__, auditor.rules.__file__, sorted(loaded.rules), [str(p) for p in loaded.models]]))"
    )
    found = json.loads(succeeded(run(sys.executable, "-P", "-c", program, cwd=hostile, path=installed)))
    package, rules, names, models = found
    assert Path(package) == installed / "auditor" / "__init__.py"
    assert Path(rules) == installed / "auditor" / "rules" / "__init__.py"
    assert names == sorted(loader.load().rules)
    assert [Path(model).relative_to(installed / "auditor" / "rules" / "_models").name for model in models] == [
        path.name for path in loader.load().models
    ]


COMMANDS = {"script": ("bin/auditor",), "module": ("-m", "auditor"), "safe": ("-P", "-m", "auditor")}


@pytest.mark.parametrize("how", COMMANDS)
def test_nothing_in_the_working_directory_shadows_a_module(how: str, installed: Path, hostile: Path) -> None:
    """All that a scan imports: workers, the cache, a report; as a script also the tools that run as children."""
    start = [installed / COMMANDS[how][0]] if how == "script" else list(COMMANDS[how])
    tools = "ruff,bandit,mypy" if how == "script" else "none"
    scan = ("scan", "bot", "--format", "json", "--tools", tools, "--cache-dir", hostile.parent / f"cache-{how}")
    done = run(sys.executable, *start, *scan, cwd=hostile, path=installed)
    assert done.stderr == ""
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert [finding["rule"] for finding in report["findings"]] == ["blocking-call-in-async"]
    expected = "off" if tools == "none" else "complete"
    assert [tool["status"] for tool in report["tools"]] == ["complete", expected, expected, expected]


def test_the_command_is_not_replaced_by_a_package_of_its_name(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "auditor").mkdir()
    shadow(tmp_path / "auditor", ("__init__", "__main__", "cli"))
    done = run(sys.executable, installed / "bin" / "auditor", "--version", cwd=tmp_path, path=installed)
    assert succeeded(done) == f"auditor {__version__}\n"


def test_the_package_rules_of_another_project_is_left_alone(installed: Path, tmp_path: Path) -> None:
    """PyPI has a package `rules`: beside ours in one site folder, each stays what it is."""
    other = tmp_path / "site"
    (other / "rules").mkdir(parents=True)
    (other / "rules" / "__init__.py").write_text("OTHER = True\n")
    program = (
        f"import sys; sys.path.insert(0, {str(other)!r}); import rules, auditor.rules; from auditor import loader; "
        "print(rules.OTHER, hasattr(auditor.rules, 'OTHER'), len(loader.load().rules))"
    )
    shown = succeeded(run(sys.executable, "-P", "-c", program, cwd=tmp_path, path=installed)).split()
    assert shown == ["True", "False", str(len(loader.load().rules))]
