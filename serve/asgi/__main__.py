"""The process that listens: `python -m serve.asgi SETTINGS`, as `serve.asgi.launch` starts it."""

import asyncio
import json
import logging
import signal
import sys
from pathlib import Path
from types import FrameType

import uvicorn

from foundation.errors import UserError
from foundation.files import read_json
from foundation.release import installed_release
from serve import examples
from serve.asgi import worker
from serve.asgi.app import App
from serve.asgi.following import Follower
from serve.asgi.listening import Listening
from serve.asgi.pool import Limits, Pool
from serve.asgi.protocol import deadlines
from serve.asgi.tokens import Tokens
from serve.card_endpoint import Card
from serve.monitoring import reference
from serve.monitoring.observer import Observer


def main() -> None:
    """Serves until it is stopped; its requests are answered first."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format='{"time": "%(asctime)s", "log": "%(message)s"}'
    )
    signal.signal(signal.SIGTERM, _leave)
    try:
        asyncio.run(_serve(json.loads(Path(sys.argv[1]).read_text())))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _leave(number: int, frame: FrameType | None) -> None:
    """Ends by way of what is still to be written: uvicorn raises the signal anew once it has answered the last one."""
    sys.exit(0)


async def _serve(settings: dict[str, object]) -> None:
    bundle, key_file, seal = Path(str(settings["bundle"])), Path(str(settings["key_file"])), str(settings["seal"])
    limits = Limits(**settings["limits"])  # type: ignore[arg-type]
    listening = Listening(**settings["listening"])  # type: ignore[arg-type]
    pool = Pool(worker.command(bundle, seal), limits)
    document = read_json(Path(str(settings["openapi"])), "start the server again")
    labels = {"model": str(settings["model"]), "version": str(settings["version"]), "release": installed_release()}
    observer = Observer(key_file.parent, reference.load(bundle, seal), labels)
    tokens = Tokens(key_file, None if settings["callers"] is None else Path(str(settings["callers"])))
    app = App(labels["model"], labels["version"], document, pool, tokens, observer, settings.get("hooks"))  # type: ignore[arg-type]
    try:
        await pool.start()
    except (EOFError, TimeoutError) as error:
        raise UserError(f"{bundle}: the model did not load; see above") from error
    if settings.get("feedback") is not None:
        from serve.feedback.keeper import Keeper

        app.feedback = Keeper(Path(str(settings["feedback"])), bool(settings["shadow"]), labels["version"])
    app.card, app.examples = Card.load(bundle, seal), examples.read(bundle, seal)
    follower = None
    if settings.get("follows") is not None:
        follower = asyncio.create_task(Follower(Path(sys.argv[1]), app).follow())
    config = uvicorn.Config(
        app,
        host=listening.address,
        port=listening.port,
        ssl_certfile=listening.certificate,
        ssl_keyfile=listening.key,
        http=deadlines(float(str(settings["receive_seconds"]))),
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody asks for a sender's address, least of all as the sender gives it
        timeout_graceful_shutdown=max(1, int(float(str(settings["drain_seconds"])))),
    )
    config.load()
    renewal = asyncio.create_task(listening.renew(config.ssl)) if config.ssl is not None else None
    try:
        await uvicorn.Server(config).serve()
    finally:
        for task in (renewal, follower):
            if task is not None:
                task.cancel()
        await pool.close()
        observer.close()


if __name__ == "__main__":
    main()
