"""Files that run, and secrets that are written down."""

from __future__ import annotations

import asyncio
import pickle

from aiohttp import ClientSession, web

from demonstrations.harms import Harm, Payload, executed, in_file, raised
from demonstrations.table import demonstrates
from demonstrations.twins import Stage


@demonstrates("learning/registry.py", "unsafe-deserialization")
def model_file_runs_code(stage: Stage) -> Harm:
    """A file that someone else put among the models: it is refused, but not before it has run."""
    module = stage.load("learning.registry")
    payload = Payload(stage.folder / "marker")
    folder = stage.folder / "models"
    folder.mkdir()
    (folder / "direction.json").write_bytes(pickle.dumps(payload))
    (folder / "direction.sig").write_text("0" * 64, encoding="ascii")
    refused = raised(lambda: module.ModelRegistry(folder, b"k" * 32).load("direction"), module.UntrustedModel)
    assert refused, "a file with a wrong signature was taken"
    return executed(payload)


@demonstrates("monitoring/notifier.py", "secret-in-log")
def token_reaches_the_log(stage: Stage) -> Harm:
    """The hook answers 503; the text of the exception has the address, and the address has the token."""
    configuration = stage.load("configuration").Configuration()
    issued = stage.load("simulator.harbour").issue_keys(configuration, {"TRADING_HOOK_TOKEN": "t0k3n" * 8})
    credentials = stage.load("credentials").read_credentials(issued, ["alpha", "beta"])
    logs, log = stage.load("logs"), stage.folder / "engine.log"

    async def refuse(request: web.Request) -> web.Response:
        return web.json_response({}, status=503)

    async def act() -> None:
        application = web.Application()
        application.add_routes([web.post("/{path:.*}", refuse)])
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        async with ClientSession() as session:
            notifier = stage.load("monitoring.notifier").WebhookNotifier(
                session, f"http://{host}:{port}/hooks/alerts", credentials.hook_token
            )
            notifier.notify(stage.load("monitoring.alerts").Alert("ERROR", "demonstration", "text"))
            sending = asyncio.create_task(notifier.run())
            await notifier.drain()
            sending.cancel()
        await runner.cleanup()

    with logs.logging_to(log, configuration.logs, logs.Redactor(credentials.values())):
        asyncio.run(act())
    assert "alert not delivered" in log.read_text(encoding="utf-8")
    return in_file(credentials.hook_token, log)
