"""The order map: paths with their checks, what is required of them, and how they are written."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from auditor import engine, loader
from auditor.cli import cli
from auditor.config import ORDER_CHECKS
from auditor.ordermap.checks import Checks
from auditor.ordermap.table import lacking, order_map
from auditor.report.order_map import flowchart, text

LOADED = loader.load()
RULES = dataclasses.replace(LOADED, rules={"always-true-check": LOADED.rules["always-true-check"]})
BOT = """\
import asyncio

import ccxt.async_support as ccxt

from desk import risk

client = ccxt.okx()


class Bot:
    def __init__(self, dry_run):
        self.dry_run = dry_run

    async def run(self):
        while True:
            await self.tick()
            await asyncio.sleep(1)

    async def tick(self):
        if self.dry_run:
            return
        if risk.may_open("X", 2):
            await self.send("X", 2)
        await self.leave("X")

    async def send(self, symbol, amount):
        rounded = client.amount_to_precision(symbol, amount)
        return await asyncio.wait_for(client.create_order(symbol, "market", "buy", rounded, None, {"clientOrderId": symbol}), 5)

    async def leave(self, symbol):
        try:
            await client.create_order(symbol, "market", "sell", 1)
        except Exception:
            print("not left")


async def main():
    bot = Bot(False)
    task = asyncio.create_task(bot.run())
    await task


async def stray(symbol):
    await client.cancel_order("1", symbol)


asyncio.run(main())
"""
RISK = "def may_open(symbol, amount):\n    return amount < 3\n"
TEXTS = {"desk/__init__.py": "", "desk/bot.py": BOT, "desk/risk.py": RISK}


def mapped(texts: Mapping[str, str] = TEXTS) -> dict[str, Any]:
    analysis = engine.in_process(texts, RULES)
    assert analysis.errors == []
    return order_map(analysis.project)


def rows(table: Mapping[str, Any]) -> dict[tuple[str, str, str], Mapping[str, Any]]:
    return {(row["verb"], row["entry"]["symbol"], row["hops"][-1]["symbol"]): row for row in table["paths"]}


def statuses(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: answer["status"] for name, answer in row["checks"].items()}


class TestPaths:
    def test_every_path_begins_where_the_project_does(self) -> None:
        found = rows(mapped())
        assert sorted(found) == [
            ("cancel", "stray", "stray"), ("place", "Bot.run", "Bot.leave"), ("place", "Bot.run", "Bot.send"),
        ]  # fmt: skip
        kinds = {key: row["entry"]["kind"] for key, row in found.items()}
        assert set(kinds.values()) == {"task", "coroutine"}
        assert [hop["calls"] for hop in found["place", "Bot.run", "Bot.send"]["hops"]] == [
            "tick",
            "send",
            "create_order",
        ]

    def test_what_guards_a_path_is_shown_with_its_place(self) -> None:
        row = rows(mapped())["place", "Bot.run", "Bot.send"]
        assert {name for name, status in statuses(row).items() if status != "proven"} == {"outcome"}
        checks = row["checks"]
        assert (checks["risk"]["path"], checks["risk"]["line"]) == (
            "desk/bot.py",
            BOT.splitlines().index('        if risk.may_open("X", 2):') + 1,
        )
        assert checks["switch"]["line"] == BOT.splitlines().index("        if self.dry_run:") + 1

    def test_what_is_missing_is_said(self) -> None:
        row = rows(mapped())["place", "Bot.run", "Bot.leave"]
        found = statuses(row)
        assert (found["client-id"], found["outcome"]) == ("absent", "absent")
        assert found["risk"] == "undecided"  # `may_open` has been asked before it, for another order
        assert found["timeout"] == found["rate-limit"] == found["switch"] == "proven"

    def test_a_cancel_needs_no_size(self) -> None:
        found = statuses(rows(mapped())["cancel", "stray", "stray"])
        assert (found["risk"], found["rounding"], found["client-id"], found["switch"]) == (
            "not needed",
            "not needed",
            "not needed",
            "absent",
        )

    def test_a_client_without_its_limiter(self) -> None:
        off = BOT.replace("ccxt.okx()", 'ccxt.okx({"enableRateLimit": False})')
        row = rows(mapped({**TEXTS, "desk/bot.py": off}))["place", "Bot.run", "Bot.send"]
        assert statuses(row)["rate-limit"] == "absent"

    def test_threads_routes_and_scripts_are_entry_points(self) -> None:
        source = """\
import threading

import ccxt

client = ccxt.okx()


def loop():
    client.create_order("X", "market", "buy", 1)


@app.post("/buy")
def buy():
    client.create_order("Y", "market", "buy", 1)


def begin():
    threading.Thread(target=loop).start()


client.cancel_all_orders()
"""
        found = {row["entry"]["symbol"]: row["entry"]["kind"] for row in mapped({"bot.py": source})["paths"]}
        assert found == {"loop": "thread", "buy": "handler", "": "script"}

    def test_tests_are_no_entry_points(self) -> None:
        extra = {"tests/test_bot.py": "from desk.bot import stray\n\n\nasync def test_it():\n    await stray('X')\n"}
        assert mapped({**TEXTS, **extra}) == mapped()

    def test_checks_are_those_of_the_configuration(self) -> None:
        project = engine.in_process(TEXTS, RULES).project
        assert tuple(Checks(project).all) == ORDER_CHECKS == tuple(mapped()["checks"])


class TestWriting:
    def test_text_tells_each_path(self) -> None:
        written = text(mapped())
        assert "3 paths to a venue" in written
        assert "  from task Bot.run  desk/bot.py:14" in written
        assert "  - client-id   no client id is sent  desk/bot.py:" in written

    def test_nothing_to_tell(self) -> None:
        assert text(mapped({"a.py": "x = 1\n"})) == "No call that places, changes or cancels an order was found.\n"

    def test_the_flowchart_leads_from_entries_to_the_venue(self) -> None:
        lines = flowchart(mapped())
        assert lines[0] == "flowchart LR"
        assert any("task: Bot.run" in line for line in lines)
        assert any("lacks client-id" in line for line in lines)

    def test_it_is_plain_json_and_the_same_in_each_run(self) -> None:
        assert json.dumps(mapped()) == json.dumps(mapped())
        assert mapped()["schema"] == "auditor-orders/1"


class TestRequired:
    def test_only_what_is_absent_on_production_paths_counts(self) -> None:
        table = mapped()
        assert [(row["hops"][-1]["symbol"], name) for row, name in lacking(table, ["client-id"])] == [
            ("Bot.leave", "client-id")
        ]
        scripts = order_map(engine.in_process(TEXTS, RULES).project, lambda _path: "scripts")
        assert lacking(scripts, ["client-id"]) == []

    def run(self, tmp_path: Path, require: str, *command: str) -> Any:
        for path, source in TEXTS.items():
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_text(source)
        (tmp_path / "pyproject.toml").write_text(f"[tool.auditor]\n[tool.auditor.orders]\nrequire = {require}\n")
        before = os.getcwd()
        os.chdir(tmp_path)
        try:
            return CliRunner().invoke(cli, [*command, ".", "--no-cache", "--jobs", "1"])
        finally:
            os.chdir(before)

    def test_the_command_ends_with_1_and_says_why(self, tmp_path: Path) -> None:
        result = self.run(tmp_path, '["client-id"]', "orders")
        assert result.exit_code == 1
        assert "required and absent: client-id on the path from Bot.run to desk/bot.py:" in result.output

    def test_the_gate_of_a_scan_fails_too(self, tmp_path: Path) -> None:
        result = self.run(tmp_path, '["client-id"]', "scan", "--tools", "none", "--gate", "never")
        assert result.exit_code == 1
        assert "1 order path lacks client-id ([tool.auditor.orders])" in result.output

    def test_what_every_path_has_passes(self, tmp_path: Path) -> None:
        assert self.run(tmp_path, '["timeout"]', "orders", "--format", "json").exit_code == 0

    @pytest.mark.parametrize("require", ['["client_id"]', '"client-id"'])
    def test_a_check_that_does_not_exist_is_an_error(self, tmp_path: Path, require: str) -> None:
        assert self.run(tmp_path, require, "orders").exit_code == 2
