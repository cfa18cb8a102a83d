"""What sites tell of their patients before training, and what is made of it."""

from pretrain.federated.statistics.contract import NAMES as NAMES
from pretrain.federated.statistics.contract import SiteStatistics as SiteStatistics
from pretrain.federated.statistics.packing import from_arrays as from_arrays
from pretrain.federated.statistics.packing import to_arrays as to_arrays
from pretrain.federated.statistics.page import statistics_page as statistics_page
from pretrain.federated.statistics.pooling import pool as pool
from pretrain.federated.statistics.site import site_statistics as site_statistics
from pretrain.federated.statistics.suppression import suppress as suppress
from pretrain.federated.statistics.use import initial_moments as initial_moments
from pretrain.federated.statistics.use import stain_reference as stain_reference
