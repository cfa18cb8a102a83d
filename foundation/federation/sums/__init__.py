"""Sums over the sites beside training: a question that each answers with arrays, of which the total is what counts."""

from foundation.federation.sums.contract import Ask as Ask
from foundation.federation.sums.contract import Refused as Refused
from foundation.federation.sums.contract import SiteSums as SiteSums
from foundation.federation.sums.contract import Sums as Sums
