"""Edits of bundle, signature, archive and handler: each is refused before a server starts, in a line that names it."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from foundation.errors import UserError
from serve import manifest, signature
from serve.__main__ import find_archive
from serve.bundle import write_archive
from serve.schema import BundleSchema
from tests.serve.edits import Edit, cut, dropped, gone, said


@pytest.fixture(scope="module")
def made(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed export beside its key."""
    folder = tmp_path_factory.mktemp("signed")
    for name in ("ours", "theirs"):
        key = Ed25519PrivateKey.generate()
        (folder / f"{name}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / f"{name}.pub").write_bytes(public)
    shutil.copytree(bundle, folder / "bundle")
    signature.sign(folder / "bundle", signature.read_signing_key(folder / "ours.key"))
    write_archive(folder / "bundle", BundleSchema.load(bundle), folder)
    return folder


@pytest.fixture
def export(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "export"))


def flipped(name: str) -> Edit:
    def edit(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return edit


def grown(name: str) -> Edit:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes() + b"\n") and None


def emptied(name: str) -> Edit:
    return lambda folder: (folder / name).write_bytes(b"") and None


def added(name: str, content: bytes = b"import os\n") -> Edit:
    def edit(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return edit


def linked(name: str) -> Edit:
    def edit(folder: Path) -> None:
        (folder / "elsewhere").mkdir()
        (folder / name).symlink_to(folder / "elsewhere")

    return edit


def swapped(one: str, other: str) -> Edit:
    def edit(folder: Path) -> None:
        first, second = (folder / one).read_bytes(), (folder / other).read_bytes()
        (folder / one).write_bytes(second)
        (folder / other).write_bytes(first)

    return edit


def sealed_anew(change: Edit) -> Edit:
    """A change under a manifest that fits it, as whoever may write the folder can make one."""

    def edit(folder: Path) -> None:
        change(folder)
        manifest.write(folder / "bundle")

    return edit


def signed_by_another(folder: Path) -> None:
    signature.sign(folder / "bundle", signature.read_signing_key(folder / "theirs.key"))


def member(name: str, content: bytes | None) -> Edit:
    """A member of the archive that is another, more or (None) missing."""

    def edit(folder: Path) -> None:
        path = next(folder.glob("*.mar"))
        with zipfile.ZipFile(path) as stream:
            members = {entry: stream.read(entry) for entry in stream.namelist()}
        members.pop(name, None)
        with zipfile.ZipFile(path, "w") as stream:
            for entry, data in members.items():
                stream.writestr(entry, data)
            if content is not None:
                stream.writestr(name, content)

    return edit


def archive_says(key: str, value: str) -> Edit:
    def edit(folder: Path) -> None:
        with zipfile.ZipFile(next(folder.glob("*.mar"))) as stream:
            content = json.loads(stream.read("MAR-INF/MANIFEST.json"))
        content["model"][key] = value
        member("MAR-INF/MANIFEST.json", json.dumps(content).encode())(folder)

    return edit


def archive_cut(folder: Path) -> None:
    path = next(folder.glob("*.mar"))
    path.write_bytes(path.read_bytes()[:-200])


TASK, WEIGHTS, HEAD = (
    "bundle/model/task.json",
    "bundle/model/encoder/model.safetensors",
    "bundle/model/head.safetensors",
)
CONFIG, SCHEMA = "bundle/model/encoder/config.json", "bundle/schema.json"
HANDLER, MAR = "consilium_handler.py", ".mar: "
EXPORTS: dict[str, tuple[Edit, str]] = {
    "a bit of the encoder's weights": (flipped(WEIGHTS), WEIGHTS),
    "a bit of the head": (flipped(HEAD), HEAD),
    "weights cut short": (cut(WEIGHTS), WEIGHTS),
    "weights emptied": (emptied(HEAD), HEAD),
    "weights removed": (gone(WEIGHTS), WEIGHTS),
    "weights of one for the other": (swapped(WEIGHTS, HEAD), "bundle/model/"),
    "a head of another class": (said(TASK, "head", "type", value="os.system"), TASK),
    "a line after the task": (grown(TASK), TASK),
    "an encoder of another class": (said(CONFIG, "modalities", "record", "type", value="os.system"), CONFIG),
    "a gene's name": (flipped("bundle/model/encoder/genes.txt"), "genes.txt"),
    "a word of the tokenizer": (flipped("bundle/model/encoder/tokenizer/tokenizer.json"), "tokenizer.json"),
    "the schema's version": (said(SCHEMA, "version", value="0" * 12), SCHEMA),
    "real patients for synthetic ones": (said(SCHEMA, "synthetic", value=False), SCHEMA),
    "a modality less in the schema": (said(SCHEMA, "modalities", value={}), SCHEMA),
    "the contract": (grown("bundle/request.schema.json"), "request.schema.json"),
    "the answer's schema": (flipped("bundle/response.schema.json"), "response.schema.json"),
    "the description": (cut("bundle/openapi.json"), "openapi.json"),
    "the reference of drift": (emptied("bundle/reference.json"), "reference.json"),
    "examples": (gone("bundle/examples.json"), "examples.json"),
    "a module beside the model": (added("bundle/model/torch.py"), "torch.py"),
    "a card": (added("bundle/card/card.html", b"<p>safe</p>"), "card/card.html"),
    "a hidden file": (added("bundle/.hidden"), ".hidden"),
    "a program": (added("bundle/program.pt2", b"PK"), "program.pt2"),
    "a declaration of FHIR": (added("bundle/fhir.json", b"{}"), "fhir.json"),
    "a link to a folder": (linked("bundle/card"), "card: a link"),
    "no manifest": (gone("bundle/manifest.json"), "no manifest.json"),
    "half a manifest": (cut("bundle/manifest.json"), "manifest.json"),
    "a manifest of nothing": (lambda folder: (folder / "bundle/manifest.json").write_text("[]") and None, "manifest"),
    "a digest in the manifest": (said("bundle/manifest.json", "schema.json", value="0" * 64), SCHEMA),
    "a file less in the manifest": (dropped("bundle/manifest.json", "model/task.json"), TASK),
    "a manifest written anew": (sealed_anew(flipped("bundle/reference.json")), "manifest.sig"),
    "another version, all sealed": (sealed_anew(said(SCHEMA, "name", value="other")), "manifest.sig"),
    "a bit of the signature": (flipped("bundle/manifest.sig"), "manifest.sig"),
    "a signature cut short": (cut("bundle/manifest.sig"), "manifest.sig"),
    "no signature": (gone("bundle/manifest.sig"), "manifest.sig: missing"),
    "the signature of another": (signed_by_another, "manifest.sig"),
    "no archive": (lambda folder: next(folder.glob("*.mar")).unlink(), ".mar: missing"),
    "half an archive": (archive_cut, f"{MAR}no readable archive"),
    "a handler that does more": (member(HANDLER, b"import os\n"), f"{MAR}{HANDLER}"),
    "no handler": (member(HANDLER, None), f"{MAR}{HANDLER}"),
    "a second handler": (member("handler.py", b"import os\n"), f"{MAR}handler.py"),
    "archived weights": (member("bundle/model/head.safetensors", b""), f"{MAR}bundle/model/head.safetensors"),
    "an archived schema": (member("bundle/schema.json", b"{}"), f"{MAR}bundle/schema.json"),
    "an archived signature": (member("bundle/manifest.sig", b"0" * 64), f"{MAR}bundle/manifest.sig"),
    "a path out of the archive": (member("../../evil.py", b"import os\n"), f"{MAR}../../evil.py"),
    "packages to install": (member("requirements.txt", b"evil\n"), f"{MAR}requirements.txt"),
    "the archive's handler": (archive_says("handler", "base_handler"), "MANIFEST.json says another handler"),
    "the archive's version": (archive_says("modelVersion", "0"), "MANIFEST.json says another modelVersion"),
    "the archive's requirements": (archive_says("requirementsFile", "x"), "says another requirementsFile"),
}


@pytest.mark.parametrize(("edit", "words"), EXPORTS.values(), ids=EXPORTS)
def test_an_edited_export_does_not_start(export: Path, edit: Edit, words: str):
    edit(export)
    with pytest.raises(UserError) as caught:
        find_archive(export, export / "ours.pub")
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_the_export_as_it_was_starts(export: Path):
    find_archive(export, export / "ours.pub")


def test_there_are_forty_edits_and_more():
    assert len(EXPORTS) >= 40
