"""The parts that talk over the network, against real servers on loopback."""

import asyncio
import itertools
import logging
from contextlib import asynccontextmanager
from datetime import timedelta

import aiohttp
import pytest
from aiohttp import web
from engine_scene import BAR, Load


@asynccontextmanager
async def harbour(load: Load, *, faults: bool = False, request_seconds: float = 5.0):
    """Simulated venues with some history, and exchanges connected to them."""
    configuration, environment = load("configuration").Configuration(), load("simulator.harbour").issue_keys
    names = [venue.name for venue in configuration.venues]
    credentials = load("credentials").read_credentials(environment(configuration, {}), names)
    clock = load("clock").SimulatedClock(configuration.simulation.start, 1_000_000)
    execution = load("configuration").ExecutionSettings(request_seconds=request_seconds)
    async with load("simulator.harbour").Harbour(configuration, credentials, 1, faults, clock) as venues:
        for _bar in range(5):
            await venues.advance()
        async with load("exchange.manager").ExchangeManager(venues.urls(), credentials, execution, clock) as exchanges:
            yield venues, exchanges, clock, credentials


def order(load: Load, exchanges, client_id: str = "n-1", **changes):
    records = load("records")
    market = records.Market("alpha", "BTC-USD")
    instrument = exchanges.instrument(market)
    fields = {"price": 55000 * instrument.tick, "size": instrument.lot * 1000, **changes}
    return records.OrderRequest(
        client_id, market, records.Side.BUY, fields["price"], fields["size"], records.TimeInForce.POST_ONLY
    )


def test_order_lives_and_dies_over_http(load: Load) -> None:
    async def run() -> None:
        async with harbour(load) as (venues, exchanges, _clock, _credentials):
            exchange = exchanges["alpha"]
            placed = await exchange.place(order(load, exchanges))
            assert [report.client_id for report in await exchange.open_orders()] == ["n-1"]
            assert await exchange.order("BTC-USD", "n-1") == placed
            cancelled = await exchange.cancel("BTC-USD", "n-1")
            assert cancelled.finished and await exchange.open_orders() == ()
            assert venues.servers["alpha"].venue.counts.orders == 1
            assert len(await exchange.candles("BTC-USD", None, 3)) == 3

    asyncio.run(run())


@pytest.mark.parametrize(
    ("changes", "error", "code"),
    [
        ({"price": 20000}, "OrderRefused", "price_out_of_band"),
        ({"price": -1}, "OrderRefused", "bad_price"),
        ({"size": 0}, "OrderRefused", "bad_size"),
        ({"size": 100_000}, "OrderRefused", "insufficient_funds"),
        ({"price": 32000}, "OrderRefused", "would_take"),
    ],
)
def test_refusals_are_classified(load: Load, changes, error: str, code: str) -> None:
    async def run() -> None:
        async with harbour(load) as (_venues, exchanges, _clock, _credentials):
            with pytest.raises(getattr(load("exchange.errors"), error)) as caught:
                await exchanges["alpha"].place(order(load, exchanges, **changes))
            assert caught.value.code == code

    asyncio.run(run())


def test_lookups_and_late_cancels_are_classified(load: Load) -> None:
    async def run() -> None:
        errors = load("exchange.errors")
        async with harbour(load) as (_venues, exchanges, _clock, _credentials):
            exchange = exchanges["alpha"]
            with pytest.raises(errors.OrderNotFound):
                await exchange.order("BTC-USD", "n-9")
            await exchange.place(order(load, exchanges))
            with pytest.raises(errors.DuplicateClientId):
                await exchange.place(order(load, exchanges))
            await exchange.cancel("BTC-USD", "n-1")
            with pytest.raises(errors.OrderNotOpen):
                await exchange.cancel("BTC-USD", "n-1")

    asyncio.run(run())


def test_skewed_clock_is_measured_again(load: Load) -> None:
    async def run() -> None:
        async with harbour(load) as (venues, exchanges, _clock, _credentials):
            venues.servers["alpha"]._skew = timedelta(seconds=25)
            assert await exchanges["alpha"].balances()
            venues.servers["alpha"]._skew = timedelta(seconds=-25)
            assert await exchanges["alpha"].balances()

    asyncio.run(run())


def test_wrong_secret_is_refused(load: Load) -> None:
    async def run() -> None:
        async with harbour(load) as (venues, _exchanges, clock, credentials):
            key = load("credentials").VenueCredentials(credentials.venues["alpha"].key_id, b"w" * 32)
            limiter = load("exchange.limiter").RateLimiter(100, 10)
            async with aiohttp.ClientSession() as session:
                transport = load("exchange.transport").SignedTransport(
                    "alpha", venues.urls()["alpha"], session, key, limiter, clock
                )
                with pytest.raises(load("exchange.errors").AuthenticationFailed):
                    await transport.get("/api/balances")

    asyncio.run(run())


def test_too_many_requests_in_a_bar_are_refused_and_the_next_bar_is_free(load: Load) -> None:
    async def run() -> None:
        errors, gate = load("exchange.errors"), load("simulator.gate")
        async with harbour(load) as (venues, exchanges, _clock, _credentials):
            venues.servers["alpha"]._gate._counts["BTC-USD"] = gate.REQUESTS_PER_BAR
            with pytest.raises(errors.RateLimited) as caught:
                await exchanges["alpha"].place(order(load, exchanges))
            assert caught.value.retry_after == 0.5
            await venues.advance()
            await exchanges["alpha"].place(order(load, exchanges))

    asyncio.run(run())


def test_silent_server_is_an_unknown_outcome(load: Load) -> None:
    async def run() -> None:
        release = asyncio.Event()

        async def silent(request: web.Request) -> web.Response:
            await release.wait()
            return web.Response()

        async with served(silent) as url:
            await refuse(load, url, "timeout", seconds=0.1)
            release.set()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (500, "", "OutcomeUnknown"),
        (200, "<html>", "MalformedAnswer"),
        (200, "[]", "MalformedAnswer"),
        (200, '{"client_id": "x"}', "MalformedAnswer"),
        (400, '{"error": "no"}', "OrderRefused"),
        (401, '{"error": "bad_key"}', "AuthenticationFailed"),
    ],
)
def test_answers_are_classified(load: Load, status: int, text: str, error: str) -> None:
    async def run() -> None:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(status=status, text=text)

        async with served(answer) as url:
            await refuse(load, url, None, error=error)

    asyncio.run(run())


@asynccontextmanager
async def served(handler):
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield "http://{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


async def refuse(load: Load, url: str, code: str | None, *, error: str = "OutcomeUnknown", seconds: float = 5) -> None:
    errors, clock = load("exchange.errors"), load("clock").SystemClock()
    key, limiter = load("credentials").VenueCredentials("id", b"s" * 32), load("exchange.limiter").RateLimiter(100, 10)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds)) as session:
        transport = load("exchange.transport").SignedTransport("alpha", url, session, key, limiter, clock)
        with pytest.raises(getattr(errors, error)) as caught:
            await load("exchange.rest").RestExchange(transport).order("BTC-USD", "n-1")
        assert code is None or caught.value.code == code


def test_manager_that_cannot_connect_closes_what_it_opened(load: Load) -> None:
    async def run() -> None:
        async with harbour(load) as (venues, _exchanges, clock, credentials):
            urls = {"alpha": venues.urls()["alpha"], "beta": "http://127.0.0.1:1"}
            manager = load("exchange.manager").ExchangeManager(
                urls, credentials, load("configuration").ExecutionSettings(), clock
            )
            with pytest.raises(load("exchange.errors").OutcomeUnknown):
                async with manager:
                    raise RuntimeError("not reached")
            assert all(session.closed for session in manager._sessions.values())

    asyncio.run(run())


def test_limiter_paces(load: Load) -> None:
    async def run() -> float:
        limiter = load("exchange.limiter").RateLimiter(rate=100, burst=2)
        loop = asyncio.get_running_loop()
        started = loop.time()
        await asyncio.gather(*(limiter.acquire() for _ in range(7)))
        return loop.time() - started

    assert asyncio.run(run()) >= 0.04


def feed_of(load: Load, venues, exchanges, clock, queue):
    records = load("records")
    exchange = exchanges["alpha"]
    last = {
        symbol: venues.servers["alpha"].venue.candles(symbol, None, 1)[-1].opened for symbol in ("BTC-USD", "ETH-USD")
    }
    backoff = load("orders.backoff").Backoff(0.1, 1.0)
    url = exchanges.stream_url("alpha")
    assert records
    return load("market.feed").MarketFeed(exchange, exchanges.session("alpha"), url, last, BAR, queue, clock, backoff)


def test_feed_loses_no_candle_when_the_stream_is_cut(load: Load) -> None:
    async def run() -> None:
        async with harbour(load) as (venues, exchanges, clock, _credentials):
            queue: asyncio.Queue = asyncio.Queue(maxsize=4)
            feed = feed_of(load, venues, exchanges, clock, queue)
            opened = {"BTC-USD": [], "ETH-USD": []}
            async with asyncio.timeout(20), asyncio.TaskGroup() as group:
                task = group.create_task(feed.run())
                await feed.wait_connected()
                for bar in range(12):
                    if bar % 4 == 1:
                        await venues.servers["alpha"]._hub.cut()
                    await venues.advance()
                    for _symbol in opened:
                        candle = await queue.get()
                        opened[candle.market.symbol].append(candle.opened)
                task.cancel()
            for moments in opened.values():
                assert [later - earlier for earlier, later in itertools.pairwise(moments)] == [BAR] * 11
            assert feed.reconnects == 3

    asyncio.run(run())


def test_feed_stops_when_it_is_cancelled(load: Load) -> None:
    async def run() -> None:
        async with harbour(load) as (venues, exchanges, clock, _credentials):
            feed = feed_of(load, venues, exchanges, clock, asyncio.Queue(maxsize=4))
            task = asyncio.create_task(feed.run())
            await feed.wait_connected()
            task.cancel()
            done, _pending = await asyncio.wait({task}, timeout=1)
            assert done and task.cancelled()

    asyncio.run(run())


def test_notifier_delivers_and_never_shows_its_token(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        alert = load("monitoring.alerts").Alert("ERROR", "test", "text")
        async with harbour(load) as (venues, exchanges, _clock, credentials):
            hook = venues.urls()["alpha"] + "/hooks/alerts"
            module = load("monitoring.notifier")
            session = exchanges.session("alpha")
            for url, token in ((hook, credentials.hook_token), ("http://127.0.0.1:1/x", "t" * 40), (hook, "t" * 40)):
                notifier = module.WebhookNotifier(session, url, token)
                for _number in range(module.CAPACITY + 3):
                    notifier.notify(alert)
                task = asyncio.create_task(notifier.run())
                await notifier.drain()
                task.cancel()
                await asyncio.wait({task})
                assert notifier.dropped == 3 and notifier.sent == (
                    module.CAPACITY if url == hook and token == credentials.hook_token else 0
                )
            assert venues.servers["alpha"].alerts_received == module.CAPACITY

    caplog.set_level(logging.DEBUG, logger="trading")
    asyncio.run(run())
    assert "alert not delivered" in caplog.text and "t" * 40 not in caplog.text
