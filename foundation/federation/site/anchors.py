"""The anchors of a site's ledger: what it held once, it must hold for ever, or its owner says why not.

One lies in the site's state, the other with the server, which sends it back with every order: a head that this site
signed. A ledger that was deleted, cut or brought back from an old copy lacks one of them, and the site answers nothing
more until its owner resets it (`consilium federation plans action=reset`), which the ledger then says.
"""

from collections.abc import Sequence
from pathlib import Path

from foundation.contract import UnfitPlanError
from foundation.errors import UserError
from foundation.federation.ledger import Ledger
from foundation.federation.ledger.entry import Entry
from foundation.federation.ledger.seal import Receipt, read_private, sealed
from foundation.federation.policy import Declined
from foundation.federation.site.config import Site
from foundation.files import write_text

_ADVICE = "its owner restores it, or says consilium federation plans action=reset"


def check_anchors(site: Site, entries: Sequence[Entry], receipts: Sequence[Receipt] = ()) -> None:
    """Holds a ledger against both anchors; a site without a key, as in simulation, has none.

    Args:
        site: whose.
        entries: of its ledger.
        receipts: that came with an order, of all sites.

    Raises:
        Declined: if the ledger lacks what it held, or the server brings a receipt that this site never signed.
    """
    if site.key is None:
        return
    public = read_private(site.key).public_key()
    known = {entry.hash for entry in entries} | {entry.witness for entry in entries if entry.kind == "reset"}
    brought = [receipt for receipt in receipts if receipt.site == site.name]
    if not all(receipt.signed_by(public) for receipt in brought):
        raise Declined("ledger: the server names a head of this site's ledger that this site never signed")
    for receipt in [*_kept(site), *brought]:
        if receipt.head not in known:
            write_text(_lost(site), receipt.text())
            raise Declined(
                f"ledger: lacks entry {receipt.entries - 1}, which this site signed: it was deleted or rolled back; "
                f"{_ADVICE}"
            )


def keep_anchor(site: Site, ledger: Ledger) -> Receipt | None:
    """Signs the head of a ledger and keeps it in the site's state; None at a site without a key."""
    if site.key is None:
        return None
    receipt = sealed(read_private(site.key), site.name, ledger.length, ledger.head)
    write_text(_path(site), receipt.text())
    return receipt


def reset(site: Site) -> str:
    """Lets a site answer again whose ledger lost entries; gives what the ledger says of it.

    Raises:
        UserError: if nothing was lost.
    """
    ledger = Ledger.open(site.ledger, site.name)
    known = {entry.hash for entry in ledger.entries()}
    lost = [receipt for path in (_path(site), _lost(site)) for receipt in _read(path) if receipt.head not in known]
    if not lost:
        raise UserError(f"{site.ledger}: lacks nothing that this site signed; there is nothing to reset")
    note = (
        f"by the owner: begins anew without {max(one.entries for one in lost)} entries; what they spent is not counted"
    )
    for head in dict.fromkeys(one.head for one in lost):
        ledger.append("reset", witness=head, note=note)
    _lost(site).unlink(missing_ok=True)
    keep_anchor(site, ledger)
    return note


def _kept(site: Site) -> list[Receipt]:
    return _read(_path(site))


def _read(path: Path) -> list[Receipt]:
    try:
        return [Receipt.read_text(path.read_text(encoding="utf-8"), str(path))] if path.is_file() else []
    except (UnfitPlanError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is no head that this site signed; restore it from a copy") from error


def _path(site: Site) -> Path:
    return site.state / "anchor.json"


def _lost(site: Site) -> Path:
    return site.state / "anchor.lost.json"
