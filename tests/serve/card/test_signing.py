"""A signed card names every file that was changed since, and is refused without the signature of the trusted key."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from foundation.errors import UserError
from serve import manifest, signature
from serve.card import signing
from serve.card.check import check


def key_pair(folder: Path, name: str) -> tuple[Path, Path]:
    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def signed(copy: Path) -> tuple[Path, Path]:
    """A card and the public key of who signed it."""
    private, public = key_pair(copy, "ours")
    signing.sign(copy / "card", signature.read_signing_key(private))
    return copy / "card", public


def test_an_untouched_signed_card_is_never_accused(signed: tuple[Path, Path]):
    card, public = signed
    assert check(card) == [] and check(card, public) == []


EDITS: list[tuple[Callable[[Path], object], str]] = [
    (lambda card: (card / "evaluation-biomarker.png").write_bytes(b"other"), "evaluation-biomarker.png: changed since"),
    (lambda card: (card / "run.json").write_text((card / "run.json").read_text() + " "), "run.json: changed since"),
    (lambda card: (card / "chai.xml").unlink(), "chai.xml: missing since the card was signed"),
    (lambda card: (card / "note.txt").write_text("x"), "note.txt: added since the card was signed"),
    (lambda card: (card / manifest.FILE).unlink(), "manifest.json: missing, so the signature is of no file"),
    (lambda card: (card / manifest.FILE).write_text("{"), "manifest.json"),
    (lambda card: (card / manifest.FILE).write_text("{}"), "not the signature of manifest.json"),
    (lambda card: (card / manifest.SIGNATURE).write_bytes(b"\0" * 64), "not the signature of manifest.json"),
    (lambda card: (card / manifest.SIGNATURE).unlink(), "manifest.sig: missing, so nobody signed this card"),
]


@pytest.mark.parametrize(("edit", "name"), EDITS, ids=[name for _, name in EDITS])
def test_an_edit_of_a_signed_card_is_named(signed: tuple[Path, Path], edit: Callable[[Path], object], name: str):
    card, public = signed
    edit(card)
    assert any(name in problem for problem in check(card, public))


def test_another_key_is_refused(signed: tuple[Path, Path], tmp_path: Path):
    card, _ = signed
    _, other = key_pair(tmp_path, "theirs")
    assert any("not the signature of manifest.json by the owner of" in problem for problem in check(card, other))
    other.write_text("no key")
    with pytest.raises(UserError, match="no readable public key"):
        check(card, other)


def test_a_card_that_nobody_signed_is_whole_unless_a_key_is_trusted(copy: Path, tmp_path: Path):
    _, public = key_pair(tmp_path, "ours")
    assert check(copy / "card") == []
    assert check(copy / "card", public) == [
        "manifest.sig: missing, so nobody signed this card; write it again with signing_key=..."
    ]


def test_a_card_that_is_written_again_loses_its_signature(signed: tuple[Path, Path], tmp_path: Path):
    card, _ = signed
    shutil.copytree(card, tmp_path / "again")
    signing.unsign(tmp_path / "again")
    assert not signing.is_signed(tmp_path / "again") and not (tmp_path / "again" / manifest.FILE).exists()
