"""Whether an export is what was exported: files, version, archive and signature, held together before anything runs."""

import hashlib
import json
import zipfile
from pathlib import Path

from foundation.errors import UserError
from serve import manifest
from serve.schema import FILE as SCHEMA
from serve.schema import BundleSchema, Digests

HANDLER = Path(__file__).with_name("torchserve") / "consilium_handler.py"
_ARCHIVED = "bundle/"
_ARCHIVE_MANIFEST = "MAR-INF/MANIFEST.json"
_AGAIN = "copy the export again, or run python -m serve.export again"


def verify_bundle(bundle: Path, trusted_key: Path | None = None) -> tuple[BundleSchema, Digests]:
    """Schema and digests of a bundle whose files are those of its manifest and make the version that it says.

    Args:
        bundle: as `serve.export` wrote it.
        trusted_key: PEM file of the Ed25519 public key that must have signed it; unsigned ones pass if None.

    Raises:
        UserError: naming the first file that is missing, changed or not of the export, or what is wrong with version or
            signature.
    """
    files = manifest.verify(bundle)
    if trusted_key is not None:
        from serve import signature  # and its cryptography, which a bundle that nobody pins a key for goes without

        signature.verify(bundle, trusted_key)
    schema = BundleSchema.load(bundle)
    version = schema.version_of(files)
    if schema.version != version:
        raise UserError(f"{bundle / SCHEMA}: says version {schema.version}, its files make {version}; {_AGAIN}")
    return schema, Digests(model=manifest.model_digest(files), contract=files[SCHEMA])


def verify_archive(archive: Path, bundle: Path, schema: BundleSchema) -> None:
    """Refuses a `.mar` file that holds anything but a verified bundle and this release's handler.

    Raises:
        UserError: naming the first member that differs.
    """
    expected = {f"{_ARCHIVED}{name}": digest for name, digest in manifest.digests(bundle).items()}
    beside = [path for path in (bundle / manifest.FILE, bundle / manifest.SIGNATURE) if path.is_file()]
    expected |= {f"{_ARCHIVED}{path.name}": _digest(path.read_bytes()) for path in beside}
    expected[HANDLER.name] = _digest(HANDLER.read_bytes())
    try:
        with zipfile.ZipFile(archive) as stream:
            names = [info.filename for info in stream.infolist()]
            there = {name: _digest(stream.read(name)) for name in set(names)}
            described = json.loads(stream.read(_ARCHIVE_MANIFEST))["model"]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{archive}: no readable archive of a model; {_AGAIN}") from error
    there.pop(_ARCHIVE_MANIFEST)
    for name in sorted(expected.keys() | there.keys()):
        if expected.get(name) != there.get(name) or names.count(name) > 1:
            release = " of this release" if name == HANDLER.name else ""
            raise UserError(f"{archive}: {name} is not that of the bundle beside it{release}; {_AGAIN}")
    wanted = {"modelName": schema.name, "handler": HANDLER.name, "modelVersion": schema.version}
    for key in described.keys() | wanted.keys():
        if described.get(key) != wanted.get(key):
            raise UserError(f"{archive}: {_ARCHIVE_MANIFEST} says another {key} than the bundle; {_AGAIN}")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
