"""A disk that was rolled back, a ledger that was deleted or made up: the site stops until its owner resets it."""

import shutil
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from omegaconf import DictConfig

from foundation.contract import UnfitPlanError
from foundation.errors import UserError
from foundation.federation.deployment.pki import write_node_key
from foundation.federation.ledger import Ledger
from foundation.federation.ledger.files import verify
from foundation.federation.ledger.seal import Receipt, read_private, sealed
from foundation.federation.plans import main as plans_command
from foundation.federation.policy import Declined
from foundation.federation.server.receipts import ReceiptBook
from foundation.federation.site.anchors import check_anchors, keep_anchor, reset
from foundation.federation.site.config import Site
from foundation.federation.wire.messages import RECEIPT, Reply
from foundation.federation.wire.tensors import UnreadableError
from tests.foundation.federation.gates import gate_of, site_of

pytestmark = pytest.mark.attack
GONE = "policy: ledger: lacks entry .*, which this site signed: it was deleted or rolled back"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A hospital with a key, a ledger of some entries, and the anchor of the latest."""
    home = tmp_path / "site"
    (home / "state").mkdir(parents=True)
    (home / "node.pub").write_bytes(write_node_key(home / "node.key", "riverside"))
    (home / "site.yaml").write_text(yaml.safe_dump({"name": "riverside", "key": "node.key"}))
    site = Site.load(home / "site.yaml")
    write(site, 3)
    return site


def write(site: Site, count: int) -> Receipt:
    ledger = Ledger.open(site.ledger, site.name)
    for _ in range(count):
        ledger.append("note", note="x")
    receipt = keep_anchor(site, ledger)
    assert receipt is not None
    return receipt


def check(site: Site, *receipts: Receipt) -> None:
    check_anchors(site, Ledger.open(site.ledger, site.name).entries(), receipts)


def copied(site: Site, to: Path) -> Path:
    """A copy of the whole disk."""
    return Path(shutil.copytree(site.ledger.parent, to / "copy"))


def restored(site: Site, copy: Path) -> None:
    shutil.rmtree(site.ledger.parent)
    shutil.copytree(copy, site.ledger.parent)


def deleted(site: Site) -> None:
    for path in site.ledger.parent.glob("ledger.jsonl*"):
        path.unlink()


def test_a_whole_ledger_passes_and_grows(site: Site):
    first = write(site, 1)
    check(site, first, write(site, 2))
    bare = Site("riverside", None, site.policy, site.ledger, site.state)
    check_anchors(bare, [], [first])
    assert keep_anchor(bare, Ledger.open(site.ledger, site.name)) is None


def test_attack_by_a_ledger_that_was_deleted_with_its_head(site: Site):
    deleted(site)
    with pytest.raises(Declined, match=GONE):
        check(site)


def test_attack_by_a_ledger_from_an_old_copy(site: Site, tmp_path: Path):
    old = site.ledger.read_bytes(), site.ledger.with_name("ledger.jsonl.head").read_bytes()
    write(site, 2)
    site.ledger.write_bytes(old[0])
    site.ledger.with_name("ledger.jsonl.head").write_bytes(old[1])
    assert verify(site.ledger) == [], "by itself nothing is wrong with it"
    with pytest.raises(Declined, match=GONE):
        check(site)


def test_attack_by_a_whole_disk_from_an_old_copy_is_told_by_the_servers_receipt(site: Site, tmp_path: Path):
    copy = copied(site, tmp_path)
    receipt = write(site, 2)
    restored(site, copy)
    check(site)
    with pytest.raises(Declined, match=GONE):
        check(site, receipt)


def test_attack_by_a_ledger_and_state_that_were_deleted_together(site: Site):
    receipt = write(site, 1)
    deleted(site)
    shutil.rmtree(site.state)
    with pytest.raises(Declined, match=GONE):
        check(site, receipt)


def test_attack_by_a_ledger_made_up_to_the_same_length(site: Site):
    receipt = write(site, 2)
    deleted(site)
    shutil.rmtree(site.state)
    write(site, receipt.entries - 1)
    with pytest.raises(Declined, match=GONE):
        check(site, receipt)


def test_attack_by_a_receipt_that_the_server_made_up(site: Site):
    """A server cannot stop a site by a head that the site never signed, unseen: the line says what it did."""
    other = ec.generate_private_key(ec.SECP384R1())
    for forged in (
        sealed(other, "riverside", 9, "a" * 64),
        write(site, 1).model_copy(update={"entries": 99}),
        write(site, 1).model_copy(update={"head": "b" * 64}),
        write(site, 1).model_copy(update={"signature": ""}),
    ):
        with pytest.raises(Declined, match="names a head of this site's ledger that this site never signed"):
            check(site, forged)
    assert read_private(site.key) is not None  # type: ignore[arg-type]
    check(site, sealed(other, "northgate", 9, "a" * 64))


def test_attack_by_an_anchor_that_was_altered(site: Site):
    (site.state / "anchor.json").write_text("{}")
    with pytest.raises(UserError, match="is no head that this site signed"):
        check(site)


def test_an_owner_resets_knowingly_and_once(site: Site, monkeypatch: pytest.MonkeyPatch, capsys):
    with pytest.raises(UserError, match="there is nothing to reset"):
        reset(site)
    receipt = write(site, 1)
    deleted(site)
    with pytest.raises(Declined, match=GONE):
        check(site, receipt)
    monkeypatch.setattr("sys.argv", ["plans", f"site={site.ledger.parent / 'site.yaml'}", "action=reset"])
    plans_command()
    assert f"begins anew without {receipt.entries} entries" in capsys.readouterr().out
    check(site, receipt)
    (entry,) = [entry for entry in Ledger.open(site.ledger, site.name).entries() if entry.kind == "reset"]
    assert entry.witness == receipt.head and verify(site.ledger) == []
    deleted(site)
    with pytest.raises(Declined, match=GONE):
        check(site, receipt)


def test_an_order_to_a_site_whose_ledger_is_gone_is_declined_before_anything_is_built(
    configure, site: Site, tmp_path: Path
):
    cfg: DictConfig = configure("sites=[riverside,northgate]", "output=x", command="federated")
    here = site_of(cfg, tmp_path / "site")
    here.key, here.ledger, here.state = site.key, site.ledger, site.state
    receipt = write(site, 1)
    deleted(site)
    gate = gate_of(here, cfg, receipts=(receipt,))
    with pytest.raises(Declined, match=GONE) as declined:
        gate.admit()
    gate.decline(declined.value)
    assert [entry.kind for entry in gate.ledger.entries()] == ["opened", "order", "decline"]


@pytest.fixture
def book(site: Site, tmp_path: Path) -> ReceiptBook:
    public = load_ssh_public_key((site.ledger.parent / "node.pub").read_bytes())
    assert isinstance(public, ec.EllipticCurvePublicKey)
    (tmp_path / "run").mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP384R1())
    return ReceiptBook(tmp_path / "receipts", tmp_path / "run", {"riverside": public}, key)


def reply(receipt: Receipt | None, head: str | None = None) -> Reply:
    facts: dict[str, str | float] = {} if receipt is None else {"head": head or receipt.head, RECEIPT: receipt.text()}
    return Reply("riverside", facts=facts)


def test_the_server_countersigns_and_keeps_beyond_the_run(book: ReceiptBook, site: Site, tmp_path: Path):
    book.take("riverside", reply(write(site, 1)))
    (kept,) = ReceiptBook(book.folder, tmp_path / "run", book.keys, book.key).latest
    assert kept.signed_by(book.keys["riverside"]) and kept.countersigned_by(book.key.public_key())
    assert not kept.countersigned_by(ec.generate_private_key(ec.SECP384R1()).public_key())
    assert (tmp_path / "run" / "receipts.json").is_file()
    check(site, kept)


def test_attack_by_a_site_that_signs_nothing_another_head_or_another_name(book: ReceiptBook, site: Site):
    receipt = write(site, 1)
    with pytest.raises(UnreadableError, match="no signed head"):
        book.take("riverside", reply(None))
    for bad in (reply(receipt, "c" * 64), reply(receipt.model_copy(update={"entries": 50}))):
        with pytest.raises(UnreadableError, match="is not signed by the site's key"):
            book.take("riverside", bad)
    stranger = sealed(ec.generate_private_key(ec.SECP384R1()), "riverside", 9, "a" * 64)
    with pytest.raises(UnreadableError, match="is not signed by the site's key"):
        book.take("riverside", reply(stranger))
    assert book.latest == ()


def test_attack_by_a_site_that_rolled_its_own_ledger_back(book: ReceiptBook, site: Site):
    before, later = write(site, 1), write(site, 1)
    book.take("riverside", reply(later))
    with pytest.raises(UnreadableError, match="it was rolled back; if its owner reset it, remove"):
        book.take("riverside", reply(before))


def test_attack_by_a_ledger_that_was_rolled_back_and_grew_to_the_same_length(
    book: ReceiptBook, site: Site, tmp_path: Path
):
    copy = copied(site, tmp_path)
    book.take("riverside", reply(first := write(site, 1)))
    book.take("riverside", reply(first))  # the same again is none
    restored(site, copy)
    with pytest.raises(UnreadableError, match="that are not among them: it was rolled back"):
        book.take("riverside", reply(write(site, 1)))


def test_attack_by_a_receipt_on_the_servers_disk_that_is_none(book: ReceiptBook, tmp_path: Path):
    book.folder.mkdir()
    (book.folder / "riverside.json").write_text('{"site": "${oc.env:HOME}"}')
    with pytest.raises(UserError, match="no receipt of a site's ledger"):
        ReceiptBook(book.folder, tmp_path / "run", book.keys, book.key)
    with pytest.raises(UnfitPlanError):
        Receipt.read_text('{"site": "a", "entries": 0}', "receipt")
