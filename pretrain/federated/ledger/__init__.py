"""What went out and what came in: an append-only file in which every entry vouches for the one before."""

from pretrain.federated.ledger.digest import digest_of_weights as digest_of_weights
from pretrain.federated.ledger.digest import norms_by_group as norms_by_group
from pretrain.federated.ledger.files import verify as verify
from pretrain.federated.ledger.spent import epsilon_spent as epsilon_spent
from pretrain.federated.ledger.writer import Ledger as Ledger
