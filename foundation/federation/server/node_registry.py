"""The registry of connected nodes: which hospital each of them is, by the key that it was admitted with."""

from collections.abc import Callable, Mapping

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from foundation.errors import UserError
from foundation.federation.server.exchange import send_and_collect
from foundation.federation.wire.messages import unpack_reply
from foundation.federation.wire.tensors import UnreadableError
from foundation.polling import wait_until

_POLL_SECONDS = 0.2
_INTRODUCTION_SECONDS = 120.0


Admitted = Callable[[], Mapping[int, str]]


class NodeRegistry:
    """Sites by node; a node is asked once who it is, and those that come later or come back are asked as they come.

    Args:
        grid: Flower's way to the nodes.
        sites: hospitals of the run.
        admitted: by node, the name under which its key was admitted, and no other is taken from it; None where nodes
            have no keys, as in simulation: there a name is that of the node that says it first.
    """

    def __init__(self, grid: Grid, sites: list[str], admitted: Admitted | None = None) -> None:
        self.grid = grid
        self.sites = sites
        self.admitted = admitted
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
        keys = None if self.admitted is None else self.admitted()

        def on_reply(number: str, message: Message) -> None:
            name = unpack_reply(message.content).hospital
            if keys is not None and keys.get(int(number)) != name:
                raise UnreadableError(
                    f"it calls itself '{name}', and its key is that of '{keys.get(int(number), '?')}'"
                )
            if keys is None and name in self._names.values():
                raise UnreadableError(f"it calls itself '{name}', as another node does")
            self._names[int(number)] = name

        named = {str(node): node for node in nodes}
        self._unknown = send_and_collect(self.grid, MessageType.QUERY, asked, named, _INTRODUCTION_SECONDS, on_reply)
