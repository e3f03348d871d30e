"""What other linters say at hand-checked places: ruff, flake8-async and semgrep beside ours.

usage: python benchmarks/peers.py LABELS.jsonl CHECKOUT RESULT.json --prefix NAME/ --rules a,b [--semgrep-rules DIR] [--bin DIR]

LABELS has one object a line: `rule`, `path` (its first folder is NAME), `line`, `verdict` (flag, clean, debatable). RESULT.json is
what `auditor scan CHECKOUT --format json` wrote. A linter sees a place if it reports a code that means the rule (MEANS) at most
three lines away. Only the labelled files are given to the others: none of them looks across files. A linter that is not in
`--bin` (or on the PATH) is left out and named.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

Place = tuple[str, int]
MEANS: Mapping[str, str] = {  # our rule -> codes of others that mean it
    "blocking-call-in-async": r"ASYNC(1|2)\d\d|sync-sleep|arbitrary-sleep|blocking",
    "dangling-task": r"RUF006|ASYNC(3\d\d|1)|dangling|create.?task",
    "unawaited-coroutine": r"RUF006|unawaited|coroutine",
    "swallowed-cancellation": r"ASYNC10[234]|E722|BLE001|bare-except",
    "bare-except": r"E722|BLE001|B001|bare-except",
    "await-atomicity": r"B909|race|atomic",
    "inconsistent-lock": r"lock",
    "unbounded-queue": r"queue",
}
RUFF = (
    "check",
    "--isolated",
    "--preview",
    "--select",
    "ASYNC,RUF006,E722,BLE001,B909",
    "--output-format",
    "json",
    "--exit-zero",
)
FLAKE8 = ("--isolated", "--select=ASYNC", "--enable=ASYNC", "--exit-zero", "--format=%(path)s:%(row)d:%(code)s")


def ruff(tool: str, root: Path, files: Sequence[str]) -> Iterator[tuple[Place, str]]:
    out = subprocess.run(
        [tool, *RUFF, "--no-cache", *files], cwd=root, capture_output=True, text=True, check=True
    ).stdout
    for item in json.loads(out):
        yield (Path(item["filename"]).relative_to(root).as_posix(), item["location"]["row"]), item["code"] or "syntax"


def flake8(tool: str, root: Path, files: Sequence[str]) -> Iterator[tuple[Place, str]]:
    out = subprocess.run([tool, *FLAKE8, *files], cwd=root, capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        path, row, code = line.rsplit(":", 2)
        yield (Path(path).as_posix(), int(row)), code


def semgrep(tool: str, root: Path, files: Sequence[str], rules: Path) -> Iterator[tuple[Place, str]]:
    command = [
        tool,
        "scan",
        "--metrics",
        "off",
        "--disable-version-check",
        "--config",
        str(rules),
        "--json",
        "-q",
        "-j",
        "1",
    ]
    out = subprocess.run([*command, *files], cwd=root, capture_output=True, text=True, check=True).stdout
    for item in json.loads(out)["results"]:
        yield (Path(item["path"]).as_posix(), item["start"]["line"]), item["check_id"].rpartition(".")[2]


def ours(result: Path) -> Iterator[tuple[Place, str]]:
    for item in json.loads(result.read_text("utf-8"))["findings"]:
        if item["confidence"] != "possible":
            yield (item["path"], item["line"]), item["rule"]


def seen(said: Iterable[tuple[Place, str]], place: Place, means: re.Pattern[str]) -> bool:
    """Whether a code that means the rule was said at a place, or within three lines of it."""
    return any(where[0] == place[0] and abs(where[1] - place[1]) <= 3 and means.search(code) for where, code in said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--rules", required=True, help="the rules to compare, with commas")
    parser.add_argument("--semgrep-rules", type=Path)
    parser.add_argument("--bin", default=None, help="where the other linters are")
    options = parser.parse_args()
    wanted, root = options.rules.split(","), options.checkout.resolve()
    labels = [json.loads(line) for line in options.labels.read_text("utf-8").splitlines() if line.strip()]
    labels = [x for x in labels if x["path"].startswith(options.prefix) and x["rule"] in wanted]
    places = [(x["rule"], x["verdict"], (x["path"].removeprefix(options.prefix), x["line"])) for x in labels]
    files = sorted({place[0] for _, _, place in places})
    said: dict[str, list[tuple[Place, str]]] = {"auditor": list(ours(options.result))}
    for name, run in (("ruff", ruff), ("flake8", flake8)):
        if tool := shutil.which(name, path=options.bin):
            said[name] = list(run(tool, root, files))
        else:
            print(f"{name} is not there: left out")
    tool = shutil.which("semgrep", path=options.bin)
    if tool and options.semgrep_rules:
        said["semgrep"] = list(semgrep(tool, root, files, options.semgrep_rules.resolve()))
    else:
        print("semgrep or --semgrep-rules is not there: left out")
    counts: Counter[tuple[str, str, str]] = Counter()
    for rule, verdict, place in places:
        counts[rule, verdict, "all"] += 1
        for name, told in said.items():
            own = re.compile(f"^{rule}$") if name == "auditor" else re.compile(MEANS.get(rule, "$^"))
            counts[rule, verdict, name] += seen(told, place, own)
    print(f"{'rule':26} {'verdict':10} {'labels':>6} " + " ".join(f"{name:>8}" for name in said))
    for rule, verdict in sorted({(r, v) for r, v, _ in counts}):
        row = " ".join(f"{counts[rule, verdict, name]:8}" for name in said)
        print(f"{rule:26} {verdict:10} {counts[rule, verdict, 'all']:6} {row}")


if __name__ == "__main__":
    main()
