"""The message that carries a site's statistics, and the way back."""

from foundation.federation.statistics.contract import SiteStatistics
from foundation.federation.statistics.packing import from_arrays, to_arrays
from foundation.federation.wire.messages import Reply

QUERY = "statistics"
_TEXT = "statistic."


def statistics_reply(hospital: str, statistics: SiteStatistics) -> Reply:
    """A site's statistics as its answer."""
    arrays, texts = to_arrays(statistics)
    facts: dict[str, str | float] = {f"{_TEXT}{name}": text for name, text in texts.items()}
    return Reply(hospital, arrays, facts=facts)


def statistics_of(reply: Reply) -> SiteStatistics:
    """The statistics that an answer holds."""
    texts = {name.removeprefix(_TEXT): str(text) for name, text in reply.facts.items() if name.startswith(_TEXT)}
    return from_arrays(reply.update, texts)
