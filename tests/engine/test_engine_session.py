"""Whole sessions: they run, they reconcile to the last unit, and they repeat."""

import itertools
import os
import sqlite3
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path

import pytest
from engine_scene import CLEAN, Load


def run(load: Load, folder: Path, seed: int, bars: int, faults: bool = False, configuration=None):
    session = load("session")
    configuration = configuration or load("configuration").load_configuration(None)
    return session.run_session(session.SessionOptions(seed, bars, faults, folder), configuration, {})


def tables(summary) -> list[Decimal]:
    books = summary.reconciliation
    return [
        amount
        for table in (books.against_venue, books.against_entries, books.against_portfolio)
        for amount in table.values()
    ]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_session_reconciles_to_zero(load: Load, tmp_path: Path, seed: int) -> None:
    summary = run(load, tmp_path / "state", seed, 300)
    assert summary.orders > 0 and summary.fills > 0 and summary.cancels > 0
    assert summary.retries == 0 and summary.disconnects == 0
    assert set(map(str, (amount.normalize() for amount in tables(summary)))) == {"0"}
    assert len(summary.reconciliation.against_venue) == 5
    assert summary.reconciled


@pytest.mark.parametrize("seed", [1, 2, 5])
def test_session_reconciles_under_faults(load: Load, tmp_path: Path, seed: int) -> None:
    summary = run(load, tmp_path / "state", seed, 600, faults=True)
    assert summary.retries > 0 and summary.disconnects > 0 and summary.fills > 0
    assert summary.alerts >= summary.disconnects
    assert all(amount == 0 for amount in tables(summary))
    assert summary.reconciled


@pytest.mark.parametrize("faults", [False, True])
def test_same_seed_gives_the_same_session(load: Load, tmp_path: Path, faults: bool) -> None:
    first = run(load, tmp_path / "one", 4, 300, faults)
    second = run(load, tmp_path / "two", 4, 300, faults)
    assert first == second
    assert fills(tmp_path / "one") == fills(tmp_path / "two") != []


def fills(folder: Path) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(folder / "ledger.db")
    try:
        return connection.execute("SELECT * FROM fills ORDER BY venue, trade_id").fetchall()
    finally:
        connection.close()


def test_another_seed_gives_another_session(load: Load, tmp_path: Path) -> None:
    assert run(load, tmp_path / "one", 6, 200).equity != run(load, tmp_path / "two", 7, 200).equity


def test_session_in_which_no_stop_is_valid_places_no_order(load: Load, tmp_path: Path) -> None:
    module = load("configuration")
    configuration = module.Configuration(risk=module.RiskSettings(max_stop_distance=Decimal("0.000001")))
    summary = run(load, tmp_path, 1, 120, configuration=configuration)
    assert summary.orders == 0 and summary.reconciled
    assert "stop_too_far" in (tmp_path / "engine.log").read_text(encoding="utf-8")


def test_files_are_written_off_the_loop(load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    threads = set()
    for name, method in (
        ("monitoring.journal", "SessionJournal._settle"),
        ("learning.registry", "ModelRegistry.load"),
        ("learning.registry", "ModelRegistry.save"),
        ("strategy", "DirectionStrategy.decide"),
    ):
        kind, attribute = method.split(".")
        owner = getattr(load(name), kind)
        original = getattr(owner, attribute)

        def spy(*arguments, original=original):
            threads.add(threading.current_thread())
            return original(*arguments)

        monkeypatch.setattr(owner, attribute, spy)
    run(load, tmp_path, 1, 60)
    assert threads and threading.main_thread() not in threads


def test_folder_of_an_earlier_session_is_refused(load: Load, tmp_path: Path) -> None:
    run(load, tmp_path, 1, 1)
    with pytest.raises(load("session").UsedFolder):
        run(load, tmp_path, 1, 1)


def test_session_leaves_a_log_a_model_and_a_journal(load: Load, tmp_path: Path) -> None:
    run(load, tmp_path, 1, 60, faults=True)
    assert "model trained" in (tmp_path / "engine.log").read_text(encoding="utf-8")
    assert (tmp_path / "models" / "direction.sig").exists()
    assert '"equity"' in (tmp_path / "journal.jsonl").read_text(encoding="utf-8")


def test_command_line() -> None:
    command = [sys.executable, "-m", "trading", "--seed", "3", "--bars", "120", "--faults"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=CLEAN, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    for word in ("bars 120", "orders", "fills", "cancels", "retries", "alpha:USD 0.00000000", "final equity"):
        assert word in done.stdout
    assert done.stdout.splitlines()[-1] == "reconciled"
    assert done.stderr == ""


def test_command_line_fails_when_the_books_do_not_agree(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = load("__main__")
    reconciliation = load("ledger.reconciliation").Reconciliation(
        {("alpha", "USD"): Decimal("0.01")}, {}, {}, (), ("x",)
    )
    summary = load("session").Summary(1, 1, 1, 0, 0, 0, 0, 0, 0.5, Decimal(1), "drawdown", reconciliation)
    monkeypatch.setattr(main, "run", lambda *_: summary)
    assert main.main(["--bars", "1"]) == 1
    output = capsys.readouterr().out
    assert "NOT RECONCILED" in output and "alpha:USD 0.01" in output and "halted: drawdown" in output


def test_command_line_refuses_a_bad_configuration(
    load: Load, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "engine.toml"
    path.write_text("[rsik]\n", encoding="utf-8")
    assert load("__main__").main(["--config", str(path)]) == 2
    assert "did you mean `risk`?" in capsys.readouterr().err


def test_interrupted_session_leaves_no_order_at_a_venue(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    session, harbour = load("session"), load("simulator.harbour")
    seen, bars = [], itertools.count()

    async def advance(self) -> None:
        if next(bars) == 120:
            seen.append(self)
            raise KeyboardInterrupt
        await original(self)

    original = harbour.Harbour.advance
    monkeypatch.setattr(harbour.Harbour, "advance", advance)
    with pytest.raises(KeyboardInterrupt):
        run(load, tmp_path, 2, 200)
    assert session and [server.venue.open_orders() for server in seen[0].servers.values()] == [[], []]


def test_quotes_that_fail_cost_a_bar_and_nothing_else(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rest, errors, calls = load("exchange.rest").RestExchange, load("exchange.errors"), itertools.count(1)
    original = rest.quote

    async def quote(self, symbol: str):
        if next(calls) % 5 == 0:
            raise errors.OutcomeUnknown(self.name, "timeout")
        return await original(self, symbol)

    monkeypatch.setattr(rest, "quote", quote)
    summary = run(load, tmp_path, 2, 300)
    assert summary.fills > 0 and summary.reconciled
    log = (tmp_path / "engine.log").read_text(encoding="utf-8")
    assert "bar not worked" in log and summary.alerts > 0


def test_difference_with_a_venue_halts_the_session(load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A balance that is wrong by the last unit is seen during the session and again at its end."""
    postings = load("orders.manager").OrderManager
    original = postings._count_fill

    def count_fill(self, fill) -> None:
        original(self, fill)
        self._portfolio.deposit(fill.market.venue, fill.fee_asset, Decimal("0.00000001"))

    monkeypatch.setattr(postings, "_count_fill", count_fill)
    summary = run(load, tmp_path, 2, 600)
    assert summary.halted == "position_drift" and not summary.reconciled
    assert all(amount == 0 for amount in summary.reconciliation.against_venue.values())
    assert any(amount != 0 for amount in summary.reconciliation.against_portfolio.values())
