"""The ledger: all or nothing, each fill once, and a schema that knows its version."""

import asyncio
import sqlite3
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from engine_scene import OPENING, Load, Scene, play


async def filled_report(scene: Scene):
    request = scene.request(price=scene.quote().ask, size="0.2")
    await scene.ledger.record_order(request)
    return await scene.exchange.place(request)


def test_fill_moves_base_quote_and_fee(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        report = await filled_report(scene)
        booked = await scene.ledger.book_report(report)
        balances = await scene.ledger.balances()
        cost = sum((fill.cost + fill.fee for fill in booked), Decimal(0))
        assert balances["alpha", "BTC"] == Decimal("0.2") == report.filled
        assert balances["alpha", "USD"] == OPENING - cost
        assert balances == await scene.ledger.entry_sums()

    play(load, tmp_path, act)


def test_report_that_comes_twice_is_booked_once(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        report = await filled_report(scene)
        assert len(await scene.ledger.book_report(report)) == len(report.fills) > 0
        before = await scene.ledger.balances()
        assert await scene.ledger.book_report(report) == ()
        assert await scene.ledger.balances() == before

    play(load, tmp_path, act)


def test_concurrent_reports_are_booked_once(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        report = await filled_report(scene)
        results = await asyncio.gather(*(scene.ledger.book_report(report) for _ in range(8)))
        assert sorted(map(len, results)) == [0] * 7 + [len(report.fills)]
        assert (await scene.ledger.balances())["alpha", "BTC"] == report.filled

    play(load, tmp_path, act)


def test_failure_in_the_middle_leaves_nothing(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        report = await filled_report(scene)
        other = replace(report.fills[0].market, symbol="unlisted")
        broken = replace(report, fills=(*report.fills, replace(report.fills[0], trade_id="late", market=other)))
        with pytest.raises(KeyError):
            await scene.ledger.book_report(broken)
        assert await scene.ledger.balances() == {("alpha", "USD"): OPENING}
        assert await scene.ledger.unfinished_orders() == ("t-001",)
        assert len(await scene.ledger.book_report(report)) == len(report.fills)

    play(load, tmp_path, act)


def test_cancelled_booking_leaves_nothing_and_frees_the_ledger(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        report = await filled_report(scene)
        for turns in range(1, 12):
            task = asyncio.create_task(scene.ledger.book_report(report))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            balances, sums = await scene.ledger.balances(), await scene.ledger.entry_sums()
            assert balances == sums
        await scene.ledger.book_report(report)
        assert (await scene.ledger.balances())["alpha", "BTC"] == report.filled

    play(load, tmp_path, act)


def test_fill_of_an_order_that_was_never_recorded_is_refused(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        report = await scene.exchange.place(scene.request(price=scene.quote().ask, size="0.2"))
        # INSERT OR IGNORE does not ignore a foreign key: a fill without its order is an error.
        with pytest.raises(sqlite3.IntegrityError):
            await scene.ledger.book_report(report)
        assert await scene.ledger.balances() == {("alpha", "USD"): OPENING}

    play(load, tmp_path, act)


def test_schema_version_is_written_and_a_newer_one_refused(load: Load, tmp_path: Path) -> None:
    async def version(scene: Scene):
        return await scene.ledger.version()

    schema = load("ledger.schema")
    assert play(load, tmp_path, version) == schema.CURRENT_VERSION == 2
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(schema.SchemaTooNew):
        play(load, tmp_path, version)


def test_reconciliation_names_a_difference_of_the_last_unit(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        assert (await scene.difference()).exact
        await scene.ledger.deposit("alpha", "USD", Decimal("0.00000001"))
        books = await scene.difference()
        assert not books.exact and books.against_venue["alpha", "USD"] == Decimal("0.00000001")

    play(load, tmp_path, act)


def test_open_order_is_not_reconciled(load: Load, tmp_path: Path) -> None:
    async def act(scene: Scene):
        await scene.orders.submit(scene.request())
        books = await scene.difference()
        assert not books.exact and books.resting == books.unfinished == ("t-001",)

    play(load, tmp_path, act)
