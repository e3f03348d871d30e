"""Locks that are taken twice, and locks that are taken by half."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from demonstrations.harms import Handover, Harm, deadlock, raised
from demonstrations.table import demonstrates
from demonstrations.twins import Scene, Stage, entry_plan, risk_manager


@demonstrates("risk/manager.py", "lock-reentry")
def lock_is_taken_twice(stage: Stage) -> Harm:
    """A second plan for a reserved market: admission releases the old one inside of its own lock and waits."""

    async def act(scene: Scene) -> Harm:
        risk, market = risk_manager(scene), scene.instrument.market
        plan, prices = entry_plan(scene, stop="29500", size="0.1"), {market: entry_plan(scene, stop="1").price}
        assert (await risk.admit(plan, scene.instrument, prices)).passed
        return await deadlock(risk.admit(plan, scene.instrument, prices))

    return stage.play(act)


@demonstrates("monitoring/alerts.py", "inconsistent-lock")
def history_changes_while_it_is_read(stage: Stage) -> Harm:
    """The logging thread adds an alert between two steps of the loop's copy."""
    alerts = stage.load("monitoring.alerts")
    history = alerts.AlertHistory(10)
    handover = Handover(lambda: history.add(alerts.Alert("WARNING", "thread", "three")))

    class Observed(deque[Any]):
        def __iter__(self) -> Iterator[Any]:
            for item in super().__iter__():
                yield item
                handover.in_between()

    history._alerts = Observed(maxlen=10)
    for text in ("one", "two"):
        history.add(alerts.Alert("WARNING", "loop", text))
    harm = raised(history.recent, RuntimeError)
    assert handover.thread is not None
    handover.thread.join()
    assert history.total() == 3
    return harm
