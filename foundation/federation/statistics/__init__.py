"""Statistics of the sites' patients before training, pooled and put to use."""

from foundation.federation.statistics.contract import NAMES as NAMES
from foundation.federation.statistics.contract import SiteStatistics as SiteStatistics
from foundation.federation.statistics.packing import from_arrays as from_arrays
from foundation.federation.statistics.packing import to_arrays as to_arrays
from foundation.federation.statistics.page import statistics_page as statistics_page
from foundation.federation.statistics.pooling import pool as pool
from foundation.federation.statistics.suppression import suppress as suppress
from foundation.federation.statistics.use import stain_reference as stain_reference
