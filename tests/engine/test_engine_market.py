"""Candles, bars, cache, health, journal: small parts with small promises."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from engine_scene import BAR, Load

START = datetime(2024, 1, 1, tzinfo=UTC)


def candle(load: Load, number: int, symbol: str = "BTC-USD"):
    records, one = load("records"), Decimal(1)
    return records.Candle(records.Market("alpha", symbol), START + number * BAR, one, one, one, one, one)


def test_store_keeps_order_and_forgets_the_oldest(load: Load) -> None:
    module = load("market.candles")
    market = candle(load, 0).market
    store = module.CandleStore([market], 3, BAR)
    assert store.last_close(market) is None
    for number in range(5):
        store.append(candle(load, number))
    assert [row.opened for row in store.recent(market, 9)] == [START + number * BAR for number in (2, 3, 4)]
    assert len(store.recent(market, 2)) == 2
    for number in (4, 6):
        with pytest.raises(module.CandleGap):
            store.append(candle(load, number))


def test_bar_is_complete_when_every_market_is_there(load: Load) -> None:
    module = load("market.bars")
    rows = [candle(load, 0), candle(load, 0, "ETH-USD")]
    assembler = module.BarAssembler([row.market for row in rows], asyncio.Queue(maxsize=1))
    assert assembler.add(rows[1]) is None
    bar = assembler.add(rows[0])
    assert list(bar.candles) == sorted(row.market for row in rows) and assembler._pending == {}
    with pytest.raises(module.BarOverflow):
        for number in range(1, 100):
            assembler.add(candle(load, number))


def test_cache_expires_evicts_and_loads(load: Load) -> None:
    clock = load("clock").SimulatedClock(START, 1000)
    cache = load("market.cache").DataCache(2, timedelta(seconds=30), clock)
    loads = []

    async def answer() -> int:
        loads.append(1)
        return len(loads)

    async def run() -> None:
        assert await cache.fetch("a", answer) == 1 == await cache.fetch("a", answer)
        clock.advance(BAR)
        assert await cache.fetch("a", answer) == 2

    asyncio.run(run())
    cache.put("b", 5)
    assert cache.get("a") == 2
    cache.put("c", 6)
    assert len(cache) == 2 and cache.get("b") is None and cache.get("a") == 2
    clock.advance(BAR)
    assert cache.get("a") is None and len(cache) == 1


def test_clock_is_aware_and_exact(load: Load) -> None:
    clock = load("clock")
    with pytest.raises(ValueError, match="timezone-aware"):
        clock.SimulatedClock(START.replace(tzinfo=None), 1000)
    moment = START + timedelta(milliseconds=1234567)
    assert clock.from_milliseconds(clock.to_milliseconds(moment)) == moment
    assert clock.SystemClock().now().tzinfo is UTC


def test_health_complains(load: Load) -> None:
    clock, queue = load("clock").SimulatedClock(START, 1000), asyncio.Queue(maxsize=1)
    breaker = load("risk.breaker").CircuitBreaker(1, 1, 5)
    health = load("monitoring.health").HealthMonitor(clock, BAR, queue, {"alpha": breaker})
    assert health.check().complaints == ("no_bar_yet",)
    health.saw_bar(START)
    assert health.check().well
    queue.put_nowait(candle(load, 0))
    breaker.failed()
    breaker.next_bar()
    clock.advance(timedelta(minutes=9))
    assert health.check().complaints == ("market_data_stale", "candle_queue_full", "breaker_open_alpha")


def test_journal_is_bounded(load: Load, tmp_path: Path) -> None:
    module = load("monitoring.journal")
    journal = module.SessionJournal(tmp_path / "journal.jsonl", 500)
    snapshot = module.Snapshot(START, Decimal("1.10"), 0, None)
    for number in range(40):
        journal.record(replace(snapshot, open_orders=number))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal.jsonl", "journal.old"]
    assert all(path.stat().st_size <= 500 for path in tmp_path.iterdir())
    assert '"open_orders": 39' in (tmp_path / "journal.jsonl").read_text(encoding="utf-8")


def test_heartbeat_sees_a_blocked_loop(load: Load) -> None:
    async def run(block: bool) -> float:
        heartbeat = load("monitoring.heartbeat").Heartbeat()
        task = asyncio.create_task(heartbeat.run())
        await asyncio.sleep(0.12)
        if block:
            time.sleep(0.4)
        await asyncio.sleep(0.12)
        task.cancel()
        await asyncio.wait({task})
        return heartbeat.largest_gap

    assert asyncio.run(run(True)) > 0.35


def test_faults_belong_to_the_request_and_not_to_the_order_of_requests(load: Load) -> None:
    faults = load("simulator.faults")
    plan, kind = faults.FaultPlan(1, "alpha", faults.STORMY), faults.FaultKind.LOSE_ANSWER
    keys = [f"k{number}" for number in range(4000)]
    forward = {key: plan.strikes(kind, key, 1) for key in keys}
    assert forward == {key: plan.strikes(kind, key, 1) for key in reversed(keys)}
    assert 0.05 < sum(forward.values()) / len(keys) < 0.11
    assert not any(faults.FaultPlan(1, "alpha", faults.ORDINARY).strikes(kind, key, 1) for key in keys)
    counter = faults.AttemptCounter(2)
    assert [counter.next(key) for key in "aabca"] == [1, 2, 1, 1, 1]
