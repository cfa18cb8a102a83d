"""Sites' ledgers held against the heads that they signed and the server countersigned, by whoever has the public keys.

The chain alone shows what was altered, not that a whole ledger was made up anew, or ends where it suits: a head under
which both sides signed does, and neither can deny it.
"""

from collections.abc import Sequence
from pathlib import Path

from foundation.contract import UnfitPlanError
from foundation.errors import UserError
from foundation.federation.ledger.chain import Problem
from foundation.federation.ledger.reconcile import Side
from foundation.federation.ledger.seal import Receipt, read_certificate, read_public
from foundation.files import read_json

_ADVICE = "give the receipts.json of a run"


def check_receipts(sides: Sequence[Side], receipts: Path, server: Path) -> list[Problem]:
    """What of sites' ledgers is not as both sides signed it.

    Args:
        sides: ledgers; a server's is passed over.
        receipts: file of a run, by site.
        server: folder of the SuperLink, of which `superlink.pem` and the sites' public keys (`nodes/`) are read.

    Raises:
        UserError: if a file cannot be read, or a site has no receipt or no key there.
    """
    certificate = read_certificate(server / "superlink.pem")
    content = read_json(receipts, _ADVICE)
    problems = []
    for side in sides:
        if side.server:
            continue
        if side.owner not in content:
            raise UserError(f"{receipts}: no receipt of {side.owner}; {_ADVICE} that it took part in")
        try:
            receipt = Receipt.read(content[side.owner], f"{receipts}: {side.owner}")
        except UnfitPlanError as error:
            raise UserError(f"{error}; {_ADVICE}") from error
        key = read_public(server / "nodes" / f"{side.owner}.pub")
        problems += [Problem("altered", str(side.path), text) for text in _faults(side, receipt, receipts)]
        if receipt.site != side.owner or not receipt.signed_by(key):
            problems.append(Problem("altered", str(receipts), f"the receipt of {side.owner} is not signed by its key"))
        elif not receipt.countersigned_by(certificate):
            text = f"the receipt of {side.owner} is not countersigned by the server's key"
            problems.append(Problem("altered", str(receipts), text))
    return problems


def _faults(side: Side, receipt: Receipt, receipts: Path) -> list[str]:
    known = {entry.hash for entry in side.entries} | {one.witness for one in side.entries if one.kind == "reset"}
    if receipt.head in known:
        return []
    return [f"lacks entry {receipt.entries - 1}, which {receipts} says that {side.owner} signed: it is another ledger"]
