"""The site's policy: what it trains, under which protection, and what may leave."""

from foundation.federation.policy.checks import ReplyFacts as ReplyFacts
from foundation.federation.policy.checks import check_order as check_order
from foundation.federation.policy.checks import check_reply as check_reply
from foundation.federation.policy.checks import public_reason as public_reason
from foundation.federation.policy.contract import Declined as Declined
from foundation.federation.policy.contract import SitePolicy as SitePolicy
from foundation.federation.policy.order import Noise as Noise
from foundation.federation.policy.order import OrderFacts as OrderFacts
from foundation.federation.policy.order import PrivacyFacts as PrivacyFacts
from foundation.federation.policy.order import order_facts as order_facts
from foundation.federation.policy.suppression import suppress as suppress
from foundation.federation.policy.suppression import withhold as withhold
