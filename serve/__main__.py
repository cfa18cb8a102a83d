"""`python -m serve`: an endpoint on loopback with a bundle; runs until interrupted or stopped, or in the background."""

import signal
from pathlib import Path

from omegaconf import DictConfig

from foundation.command import command, plain
from foundation.errors import UserError
from foundation.polling import wait_until
from foundation.ports import check_port
from foundation.run_record import FILE, RunRecord
from serve import manifest
from serve.openapi import predictions_path
from serve.registry_pointer import POINTER, release_in_use
from serve.schema import BundleSchema
from serve.server import STATE, Server, stop
from serve.verification import verify_archive, verify_bundle

_HOSTS = ("asgi", "torchserve")


@command("serve")
def main(cfg: DictConfig) -> None:
    """Starts the server and waits, or stops the one that runs from `output`."""
    output = Path(cfg.output)
    if cfg.action == "stop":
        print("stopped" if stop(output) else "had ended already; cleared away")
        return
    if cfg.action != "start":
        raise UserError(f"action: found {cfg.action!r}; give start or stop")
    if cfg.bundle is None:
        raise UserError("bundle: not given; say bundle=... with the output folder of python -m serve.export")
    folder = Path(cfg.bundle)
    if cfg.host not in _HOSTS:
        raise UserError(f"host: found {cfg.host!r}; give {' or '.join(_HOSTS)}")
    pointer = folder / POINTER
    if pointer.is_file():
        in_use, seal = release_in_use(pointer)
        if manifest.seal(in_use) != seal:
            raise UserError(f"{in_use / manifest.FILE}: not that of the release that {pointer} names; restore it")
        folder = in_use.parent
    schema, archive = find_archive(folder, None if cfg.trusted_key is None else Path(cfg.trusted_key))
    _check_listening(cfg)
    parents = [folder] if (folder / FILE).is_file() else []
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with RunRecord.open(output, "python -m serve", plain(cfg), cfg.seed, parents) as record:
        started = _start(cfg, schema, archive, output, pointer if pointer.is_file() else None)
        try:
            record.note("address", started.address)
            record.note("model", {"name": started.model, "version": started.version})
            print(f"serving {started.model} {started.version} at {started.address}", flush=True)
            if cfg.host == "asgi":
                print(f"page: {started.address.removesuffix(predictions_path(started.model))}/", flush=True)
            how = "Ctrl-C or: " if cfg.wait else ""
            print(
                f"token in {started.key_file}; stop with {how}python -m serve action=stop output={output}", flush=True
            )
            if not cfg.wait:
                return
            _wait(started)
        finally:
            if cfg.wait and (output / STATE).is_file():
                stop(output)
    print("stopped")


def _check_listening(cfg: DictConfig) -> None:
    """Refuses what nobody could listen on, before anything is written."""
    if cfg.host == "torchserve":
        check_port(cfg.port)
        return
    from serve.asgi.listening import Listening

    asgi = cfg.asgi
    Listening(asgi.address, cfg.port, asgi.certificate, asgi.key, asgi.unencrypted).check_free()


def _start(cfg: DictConfig, schema: BundleSchema, archive: Path, output: Path, follows: Path | None) -> Server:
    """The host that the config names, started; the default one follows a registry."""
    if cfg.host == "torchserve":
        from serve.torchserve.server import start as start_torchserve

        return start_torchserve(archive, schema, output, cfg.port, **plain(cfg.torchserve))
    from serve.asgi.launch import start as start_asgi

    key = None if cfg.trusted_key is None else Path(cfg.trusted_key)
    settings = {**plain(cfg.asgi), "follows": follows, "trusted_key": key}
    return start_asgi(archive.parent / "bundle", schema, output, cfg.port, **settings)


def find_archive(folder: Path, trusted_key: Path | None = None) -> tuple[BundleSchema, Path]:
    """Schema and `.mar` in the output folder of `serve.export`, both as they were exported.

    Args:
        folder: of the export.
        trusted_key: that must have signed it; see `verify_bundle`.

    Raises:
        UserError: if the folder holds none, or anything in them has changed.
    """
    schema, _ = verify_bundle(folder / "bundle", trusted_key)
    archive = folder / f"{schema.name}.mar"
    if not archive.is_file():
        raise UserError(f"{archive}: missing; run python -m serve.export again")
    verify_archive(archive, folder / "bundle", schema)
    return schema, archive


def _wait(started: Server) -> None:
    """Until the server ends, or this process is told to."""
    try:
        wait_until(lambda: started.process() is None, every=0.5)
    except KeyboardInterrupt:
        print("stopping", flush=True)


if __name__ == "__main__":
    main()
