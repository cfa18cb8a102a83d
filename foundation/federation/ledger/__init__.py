"""The append-only ledger of what went out and came in, in which every entry vouches for the one before."""

from foundation.federation.ledger.files import verify as verify
from foundation.federation.ledger.writer import Ledger as Ledger
