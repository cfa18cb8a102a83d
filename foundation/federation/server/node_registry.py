"""The registry of connected nodes: which hospital each of them is."""

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from foundation.errors import UserError
from foundation.federation.server.exchange import send_and_collect
from foundation.federation.wire.messages import unpack_reply
from foundation.polling import wait_until

_POLL_SECONDS = 0.2
_INTRODUCTION_SECONDS = 120.0


class NodeRegistry:
    """Sites by node; a node is asked once who it is, and those that come later or come back are asked as they come.

    Args:
        grid: Flower's way to the nodes.
        sites: hospitals of the run.
    """

    def __init__(self, grid: Grid, sites: list[str]) -> None:
        self.grid = grid
        self.sites = sites
        self._names: dict[int, str] = {}
        self._unknown: dict[str, str] = {}  # why connected nodes did not say who they are

    def connected(self) -> dict[str, int]:
        """The nodes of the sites that are connected now, in the order of the run's sites."""
        here = list(self.grid.get_node_ids())
        self._introduce([node for node in here if node not in self._names])
        nodes = {self._names[node]: node for node in here if node in self._names}
        return {site: nodes[site] for site in self.sites if site in nodes}

    def wait(self, least: int, seconds: float) -> dict[str, int]:
        """The connected sites, once all have come, or at least so many when the time is up.

        Raises:
            UserError: if fewer come.
        """
        nodes: dict[str, int] = {}

        def all_came() -> bool:
            nonlocal nodes
            nodes = self.connected()
            return len(nodes) == len(self.sites)

        if not wait_until(all_came, _POLL_SECONDS, seconds) and len(nodes) < least:
            away = ", ".join(site for site in self.sites if site not in nodes)
            silent = "".join(f", and a node did not say who it is ({why})" for why in self._unknown.values())
            raise UserError(
                f"sites: {len(nodes)} of {len(self.sites)} connected in {seconds:g} s{silent}, {least} are needed; "
                f"start those of {away}, or lower quorum"
            )
        return nodes

    def _introduce(self, nodes: list[int]) -> None:
        self._unknown = {}
        if not nodes:
            return
        asked = RecordDict({"asked": ConfigRecord({"for": "name"})})

        def on_reply(number: str, message: Message) -> None:
            answer = unpack_reply(message.content)
            self._names[int(number)] = answer.hospital

        named = {str(node): node for node in nodes}
        self._unknown = send_and_collect(self.grid, MessageType.QUERY, asked, named, _INTRODUCTION_SECONDS, on_reply)
