"""Logs and alerts: no secret gets out, files rotate, histories are bounded."""

import json
import logging
import queue
import sys
import threading
from pathlib import Path

import pytest
from engine_scene import Load

SECRET = "d41d8cd98f00b204e9800998ecf8427e"


def write(load: Load, folder: Path, emit, **settings):
    logs = load("logs")
    path = folder / "engine.log"
    with logs.logging_to(path, load("configuration").LogSettings(**settings), logs.Redactor([SECRET, ""])):
        emit(logging.getLogger("trading.test"))
    return path


def in_message(logger: logging.Logger) -> None:
    logger.info("sending with %s", SECRET)


def in_field(logger: logging.Logger) -> None:
    logger.info("sending", extra={"headers": {"X": SECRET}})


def in_exception(logger: logging.Logger) -> None:
    try:
        raise ConnectionError(f"https://hooks.example/{SECRET}/send refused")
    except ConnectionError:
        logger.exception("hook")


@pytest.mark.parametrize("emit", [in_message, in_field, in_exception])
def test_known_secret_is_redacted_wherever_it_stands(load: Load, tmp_path: Path, emit) -> None:
    text = write(load, tmp_path, emit).read_text(encoding="utf-8")
    assert SECRET not in text and "[redacted]" in text
    assert json.loads(text)["source"] == "trading.test"


@pytest.mark.parametrize(
    "text", ["signature=abc123def", '"token": "abc123def"', "Authorization: Bearer abc123def", "api_key=abc123def&x=1"]
)
def test_what_looks_like_a_secret_is_redacted(load: Load, text: str) -> None:
    redacted = load("logs").Redactor([]).redact(text)
    assert "abc123def" not in redacted and "[redacted]" in redacted


def test_fields_are_kept(load: Load, tmp_path: Path) -> None:
    path = write(load, tmp_path, lambda logger: logger.info("order %s", "placed", extra={"venue": "alpha"}))
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["message"] == "order placed" and record["venue"] == "alpha"
    assert record["at"].endswith("+00:00") and "args" not in record


def test_file_rotates(load: Load, tmp_path: Path) -> None:
    def emit(logger: logging.Logger) -> None:
        for number in range(200):
            logger.info("line %d", number)

    write(load, tmp_path, emit, max_bytes=4000, backups=2)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["engine.log", "engine.log.1", "engine.log.2"]
    assert all(path.stat().st_size <= 4000 for path in tmp_path.iterdir())


def test_logger_is_left_as_it_was(load: Load, tmp_path: Path) -> None:
    logger = logging.getLogger("trading")
    before = (logger.level, logger.propagate, list(logger.handlers))
    write(load, tmp_path, in_message)
    assert (logger.level, logger.propagate, list(logger.handlers)) == before


def test_full_log_queue_drops_and_counts(load: Load) -> None:
    handler = load("logs").BoundedQueueHandler(queue.Queue(maxsize=1))
    for _number in range(3):
        handler.emit(logging.makeLogRecord({"msg": "x"}))
    assert handler.dropped == 2


def test_alert_history_is_bounded_and_safe_between_threads(load: Load) -> None:
    alerts = load("monitoring.alerts")
    history = alerts.AlertHistory(500)
    handler = alerts.AlertHandler(history)
    sizes = set()

    def emit() -> None:
        for _number in range(1000):
            handler.handle(logging.makeLogRecord({"msg": "x", "levelno": logging.WARNING, "levelname": "WARNING"}))

    def read() -> None:
        for _number in range(1000):
            sizes.add(len(history.recent()))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=target) for target in (emit, emit, read, read)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(history.recent()) == 500 >= max(sizes) and history.total() == 2000
    history.clear()
    assert history.recent() == () and history.total() == 2000
