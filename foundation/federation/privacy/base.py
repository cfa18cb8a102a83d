"""What privacy is to a run: what it does to a site's update, and what it says of it. By itself, nothing."""

from collections.abc import Mapping

from foundation.federation.ledger.spent import Spent
from foundation.federation.policy import PrivacyFacts
from foundation.federation.weights.types import Arrays
from foundation.federation.weights.update import SiteUpdate

Settings = Mapping[str, float | str]


class Privacy:
    """No differential privacy: everything passes as it is. What others override."""

    def protect(
        self, update: SiteUpdate, previous: Arrays, settings: Settings, buffers: frozenset[str] = frozenset()
    ) -> SiteUpdate:
        """A site's update as it may leave; see `SitePrivacy.protect`."""
        return update

    def promises(self, settings: Settings, secure: bool) -> PrivacyFacts:
        """The protection that a round's order promises, for a site's policy.

        Args:
            settings: of the order.
            secure: whether updates are masked (secure aggregation).
        """
        return PrivacyFacts(secure_aggregation=secure)

    def longest(self, previous: Arrays, settings: Settings) -> float:
        """A length that masks must leave room for; see `SitePrivacy.longest`."""
        return 0.0

    def spent(self, releases: int, replaced: bool = False) -> Spent | None:
        """What so many rounds spend; None where nothing is counted.

        Args:
            releases: how many.
            replaced: for neighbours of which one has other updates of a site, not none: those of an extension.
        """
        return None
