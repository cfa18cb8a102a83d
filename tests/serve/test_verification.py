"""A byte changed anywhere in an export is refused before a server starts."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from foundation.errors import UserError
from serve import manifest, signature
from serve.__main__ import find_archive
from serve.bundle import write_archive
from serve.schema import BundleSchema


@pytest.fixture(scope="module")
def exported(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sealed")
    shutil.copytree(bundle, folder / "bundle")
    write_archive(folder / "bundle", BundleSchema.load(bundle), folder)
    return folder


@pytest.fixture
def export(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "export"))


def keys(folder: Path, name: str) -> tuple[Path, Path]:
    """A private and a public key as files."""
    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_an_export_is_as_it_was_exported(export: Path):
    schema, archive = find_archive(export)
    assert archive == export / f"{schema.name}.mar"


def test_a_bit_of_any_file_of_the_bundle_is_refused(export: Path):
    files = [path for path in (export / "bundle").rglob("*") if path.is_file()]
    assert len(files) > 8
    for path in files:
        content = path.read_bytes()
        flip(path)
        with pytest.raises(UserError):
            find_archive(export)
        path.write_bytes(content)
    find_archive(export)


@pytest.mark.parametrize("name", ["card", "model/encoder/more", "reference.json.old"])
def test_a_link_to_no_file_is_refused(export: Path, tmp_path: Path, name: str):
    """What lies behind a link to a folder has no digest, and a card there would be shown as if it had been signed."""
    if not name.endswith(".old"):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "card.html").write_text("another card")
    (export / "bundle" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=f"{name}: a link to no file"):
        manifest.verify(export / "bundle")


def rewritten(archive: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """The archive with other members."""
    with zipfile.ZipFile(archive) as stream:
        members = {name: stream.read(name) for name in stream.namelist()}
    change(members)
    with zipfile.ZipFile(archive, "w") as stream:
        for name, content in members.items():
            stream.writestr(name, content)


def put(name: str, content: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda members: members.update({name: content})


def more(name: str) -> Callable[[dict[str, bytes]], None]:
    return lambda members: members.update({name: members[name] + b"\n"})


def other_handler(members: dict[str, bytes]) -> None:
    content = json.loads(members["MAR-INF/MANIFEST.json"])
    content["model"]["handler"] = "base_handler"
    members["MAR-INF/MANIFEST.json"] = json.dumps(content).encode()


def requirements(members: dict[str, bytes]) -> None:
    content = json.loads(members["MAR-INF/MANIFEST.json"])
    content["model"]["requirementsFile"] = "requirements.txt"
    members["MAR-INF/MANIFEST.json"] = json.dumps(content).encode()


ARCHIVES = {
    "a handler that does more": (more("consilium_handler.py"), "consilium_handler.py is not that"),
    "another handler": (other_handler, "says another handler"),
    "packages to install": (requirements, "says another requirementsFile"),
    "weights": (more("bundle/model/head.safetensors"), "bundle/model/head.safetensors is not that"),
    "a schema": (more("bundle/schema.json"), "bundle/schema.json is not that"),
    "a manifest": (more("bundle/manifest.json"), "bundle/manifest.json is not that"),
    "a module more": (put("torch.py", b"import os"), "torch.py is not that"),
    "a file less": (lambda members: members.pop("bundle/schema.json") and None, "bundle/schema.json is not that"),
    "no manifest": (lambda members: members.pop("MAR-INF/MANIFEST.json") and None, "no readable archive"),
}


@pytest.mark.parametrize(("change", "words"), ARCHIVES.values(), ids=ARCHIVES)
def test_an_archive_that_is_not_the_bundle_is_refused(export: Path, change, words: str):
    rewritten(next(export.glob("*.mar")), change)
    with pytest.raises(UserError) as caught:
        find_archive(export)
    assert words in str(caught.value)


def test_a_card_s_hidden_results_travel_in_the_archive(bundle: Path, tmp_path: Path):
    shutil.copytree(bundle, tmp_path / "bundle")
    results = tmp_path / "bundle" / "card" / ".eval_results" / "toy.yaml"
    results.parent.mkdir(parents=True)
    results.write_text("- value: 0.9\n")
    manifest.write(tmp_path / "bundle")
    archive = write_archive(tmp_path / "bundle", BundleSchema.load(bundle), tmp_path)
    find_archive(tmp_path)
    with zipfile.ZipFile(archive) as stream:
        assert stream.read("bundle/card/.eval_results/toy.yaml") == results.read_bytes()


def test_a_member_twice_or_no_zip_is_refused(export: Path):
    archive = next(export.glob("*.mar"))
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(archive, "a") as stream:
        stream.writestr("bundle/schema.json", (export / "bundle/schema.json").read_bytes())
    with pytest.raises(UserError, match=r"bundle/schema\.json is not that"):
        find_archive(export)
    archive.write_bytes(io.BytesIO(b"PK").getvalue())
    with pytest.raises(UserError, match="no readable archive"):
        find_archive(export)


def test_a_signed_bundle_starts_under_its_own_key_alone(bundle: Path, tmp_path: Path):
    private, public = keys(tmp_path, "ours")
    _, theirs = keys(tmp_path, "theirs")
    shutil.copytree(bundle, tmp_path / "bundle")
    with pytest.raises(UserError, match=r"manifest\.sig: missing, so nobody signed this bundle"):
        find_archive(tmp_path, public)
    signature.sign(tmp_path / "bundle", signature.read_signing_key(private))
    write_archive(tmp_path / "bundle", BundleSchema.load(bundle), tmp_path)
    find_archive(tmp_path, public)
    find_archive(tmp_path)
    with pytest.raises(UserError, match="not the signature of manifest.json by the owner of"):
        find_archive(tmp_path, theirs)
    path = tmp_path / "bundle/model/task.json"
    path.write_text(path.read_text() + "\n")
    manifest.write(tmp_path / "bundle")
    with pytest.raises(UserError, match="not the signature of manifest.json by the owner of"):
        find_archive(tmp_path, public)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_a_file_that_is_no_key_is_said(content: bytes, bundle: Path, tmp_path: Path):
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(UserError, match="trusted_key: .*: no readable public key"):
        signature.verify(bundle, tmp_path / "key")
    with pytest.raises(UserError, match="signing_key: .*: no readable private key"):
        signature.read_signing_key(tmp_path / "key")


def test_file_that_this_user_may_not_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/head.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(Path, "read_bytes", lambda path: (_ for _ in ()).throw(PermissionError(13, "denied", path)))
    with pytest.raises(
        UserError, match=r"head\.safetensors: not readable by user \d+, only by \d+; serve as that user"
    ):
        manifest.digests(tmp_path)
