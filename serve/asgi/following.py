"""An endpoint that follows a registry: another release in use is served without a restart, and no request is lost."""

import asyncio
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from foundation.files import read_json, write_json
from foundation.release import installed_release
from serve import examples, manifest, openapi
from serve.asgi import worker
from serve.asgi.app import App
from serve.card_endpoint import Card
from serve.fhir.declaration import load_declaration
from serve.hooks.discovery import discover
from serve.monitoring import reference
from serve.monitoring.usage import Usage
from serve.registry_pointer import release_in_use
from serve.server import STATE
from serve.verification import verify_bundle

_LOG = logging.getLogger("serve")
_EVERY = 0.5  # seconds between two looks
_PAUSE, _LONGEST_PAUSE = 5.0, 300.0  # seconds before what could not be served is tried again: a start is costly


@dataclass(frozen=True)
class _Release:
    """A release in use, verified and read."""

    bundle: Path
    seal: str
    version: str
    document: dict[str, Any]
    hooks: dict[str, Any]
    card: Card
    examples: bytes
    reference: Usage | None


class Follower:
    """Looks at the pointer of a registry, and has a running application serve what it names.

    A release that cannot be served (altered, unsigned, of another model, or one whose worker does not start) is said
    in the log, and the one before goes on; it is tried again, ever more rarely, for it may be mended, or have been
    short of memory for a moment, and may be what a rollback asks for.

    Args:
        settings: `host.json` of the running host.
        app: of it.
    """

    def __init__(self, settings: Path, app: App) -> None:
        self._settings, self._app = settings, app
        content = read_json(settings, "start the server again", "follows", "seal")
        self._pointer = Path(content["follows"])
        self._key = None if content.get("trusted_key") is None else Path(content["trusted_key"])
        self._seal = str(content["seal"])
        self._failed = ""  # the seal of what could not be served
        self._pause = self._again = 0.0  # seconds; when it is tried again, by the monotonic clock

    async def follow(self) -> None:
        """Looks until it is cancelled."""
        while True:
            await asyncio.sleep(_EVERY)
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - else nothing would be followed any more, a rollback least of all
                _LOG.exception("the release in use by the registry is not served whole")

    async def look(self) -> bool:
        """Whether another release is served now than before."""
        try:
            bundle, seal = release_in_use(self._pointer)
        except UserError:  # between two writings, taken away or altered: what is served goes on
            return False
        if seal == self._seal or (seal == self._failed and time.monotonic() < self._again):
            return False
        try:
            release = await asyncio.to_thread(self._read, bundle, seal)
            await self._app.pool.replace(worker.command(release.bundle, release.seal))
        except (UserError, EOFError, OSError, TimeoutError) as error:
            self._pause = min(_LONGEST_PAUSE, 2 * self._pause) if seal == self._failed else _PAUSE
            self._failed, self._again = seal, time.monotonic() + self._pause
            advice = f"the one before goes on; tried again in {self._pause:g} s"
            _LOG.error("the release in use by the registry cannot be served (%s); %s", error, advice)
            return False
        self._seal, self._failed = seal, ""
        await self._serve(release)
        return True

    def _read(self, bundle: Path, seal: str) -> _Release:
        schema, _ = verify_bundle(bundle, self._key)
        if schema.name != self._app.model:
            raise UserError(f"{bundle}: is of {schema.name}, and this endpoint is of {self._app.model}")
        if manifest.seal(bundle) != seal:
            raise UserError(f"{bundle}: another bundle than the registry's ledger tells of")
        card, shown = Card.load(bundle, seal), examples.read(bundle, seal)
        document = openapi.describe(schema, manifest.read_file(bundle, manifest.FHIR) is not None)
        hooks = discover(schema, load_declaration(bundle))
        return _Release(bundle, seal, schema.version, document, hooks, card, shown, reference.load(bundle, seal))

    async def _serve(self, release: _Release) -> None:
        """Pages, counts and the host's own files of the release whose workers answer by now."""
        self._app.serve(release.version, release.document, release.hooks)
        self._app.card, self._app.examples = release.card, release.examples
        labels = {"model": self._app.model, "version": release.version, "release": installed_release()}
        await self._app.in_recorder(self._app.observer.replace, release.reference, labels)
        try:
            self._write(release)
        except (UserError, OSError) as error:  # a full disk must not end the following
            _LOG.error("version %s is served, and the host's own files do not say so (%s)", release.version, error)
        _LOG.warning("serving version %s", release.version)

    def _write(self, release: _Release) -> None:
        facts = {"version": release.version, "bundle": str(release.bundle.resolve()), "seal": release.seal}
        write_json(self._settings, {**read_json(self._settings, "start the server again"), **facts})
        state = self._settings.with_name(STATE)
        if state.is_file():
            write_json(state, {**read_json(state, "start the server again"), "version": release.version})
