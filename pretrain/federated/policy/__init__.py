"""A site's own rules: what it trains, under which protection, and what may leave."""

from pretrain.federated.policy.checks import ReplyFacts as ReplyFacts
from pretrain.federated.policy.checks import check_order as check_order
from pretrain.federated.policy.checks import check_reply as check_reply
from pretrain.federated.policy.checks import public_reason as public_reason
from pretrain.federated.policy.contract import Declined as Declined
from pretrain.federated.policy.contract import SitePolicy as SitePolicy
from pretrain.federated.policy.order import Noise as Noise
from pretrain.federated.policy.order import OrderFacts as OrderFacts
from pretrain.federated.policy.order import PrivacyFacts as PrivacyFacts
from pretrain.federated.policy.order import order_facts as order_facts
from pretrain.federated.policy.suppression import suppress as suppress
from pretrain.federated.policy.suppression import withhold as withhold
