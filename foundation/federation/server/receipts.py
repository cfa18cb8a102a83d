"""The receipts of sites' ledger heads: verified by each site's key, countersigned, kept beyond the run.

They lie in the SuperLink's folder, a file a site, from where every order brings them back to the sites, and in the
run's folder, for its report.
"""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

from foundation.contract import UnfitPlanError
from foundation.errors import UserError
from foundation.federation.ledger.seal import Receipt
from foundation.federation.wire.messages import RECEIPT, Reply
from foundation.federation.wire.tensors import UnreadableError
from foundation.files import write_json, write_text


class ReceiptBook:
    """What the server holds of sites' ledgers.

    Args:
        folder: of the receipts, a file a site.
        run: folder of the run.
        keys: of sites, by name.
        key: of the server.
    """

    def __init__(
        self, folder: Path, run: Path, keys: dict[str, EllipticCurvePublicKey], key: EllipticCurvePrivateKey
    ) -> None:
        self.folder = folder
        self.run = run
        self.keys = keys
        self.key = key
        kept = {name: self._read(name) for name in keys}  # one of an earlier key of the site vouches for nothing now
        self._latest = {name: one for name, one in kept.items() if one is not None and one.signed_by(keys[name])}

    @property
    def latest(self) -> tuple[Receipt, ...]:
        """Of each site that ever signed."""
        return tuple(self._latest.values())

    def take(self, site: str, reply: Reply) -> None:
        """Countersigns and keeps the head that an answer brings.

        Raises:
            UnreadableError: if the site signed nothing, or its ledger has become shorter.
        """
        if site not in self.keys:
            return
        try:
            receipt = Receipt.read_text(str(reply.facts.get(RECEIPT, "")), "receipt")
        except UnfitPlanError as error:
            raise UnreadableError(
                "message: no signed head of the site's ledger; give `key` in its site.yaml"
            ) from error
        before = self._latest.get(site)
        if receipt.site != site or receipt.head != reply.facts.get("head") or not receipt.signed_by(self.keys[site]):
            raise UnreadableError("message: the head of the site's ledger is not signed by the site's key")
        if before is not None and _forks(receipt, before):
            raise UnreadableError(
                f"message: the site's ledger has {receipt.entries} entries, and had {before.entries} that "
                f"are not among them: it was rolled back; if its owner reset it, remove {self.folder / site}.json"
            )
        self._latest[site] = receipt.countersigned(self.key)
        write_text(self.folder / f"{site}.json", self._latest[site].text())
        write_json(self.run / "receipts.json", {name: one.values() for name, one in self._latest.items()})

    def _read(self, site: str) -> Receipt | None:
        path = self.folder / f"{site}.json"
        try:
            return Receipt.read_text(path.read_text(encoding="utf-8"), str(path)) if path.is_file() else None
        except (UnfitPlanError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: no receipt of a site's ledger; restore it from a copy") from error


def _forks(receipt: Receipt, before: Receipt) -> bool:
    """Whether a ledger, which only grows, cannot have come to one head after the other."""
    return receipt.entries < before.entries or (receipt.entries == before.entries and receipt.head != before.head)
