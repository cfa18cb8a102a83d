"""What an extension of the run spends, where nothing counts what updates spend."""

import math
from dataclasses import replace

from foundation.errors import UserError
from foundation.federation.site.filters.base import Filter, Outgoing
from foundation.federation.site.gate import PolicyGate


class ExtensionEpsilon(Filter):
    """Lets nothing pass of which no epsilon can be told; the ledger tells the extension's own where it stands alone."""

    def apply(self, outgoing: Outgoing, gate: PolicyGate) -> Outgoing:
        assert gate.extension is not None
        name, alone = gate.extension.name, outgoing.spent is None
        spent = gate.spent_by_extension(1) if outgoing.spent is None else outgoing.spent
        if not math.isfinite(spent.epsilon):
            raise UserError(f"{name}.noise: protects so little that no epsilon can be told; give more, or an epsilon")
        note = f"epsilon is that of the {name} alone: nothing counts what updates tell" if alone else ""
        return replace(outgoing, spent=spent, note=note)
