"""The engine of sites in this process, one after another, without Flower's: to debug and to measure."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from foundation.federation.deployment.flower_patches import identify_process
from foundation.federation.site.app import app as client_app

_FAILED = 0  # Flower's code for an error of unknown kind


class SerialGrid(Grid):
    """A way to nodes that live in this process; a node works when its answer is asked for.

    Args:
        node_configs: by node id, what the node knows of itself.
        app: that every node runs.
    """

    def __init__(self, node_configs: Mapping[int, dict[str, bool | float | int | str]], app: ClientApp = client_app):
        identify_process()
        self.app = app
        self.contexts = {
            node: Context(run_id=1, node_id=node, node_config=dict(config), state=RecordDict(), run_config={})
            for node, config in node_configs.items()
        }
        self._asked: dict[str, Message] = {}
        self._numbers = itertools.count(1)

    def set_run(self, run: Any) -> None:
        raise NotImplementedError("there is one run")

    @property
    def run(self) -> Any:
        raise NotImplementedError("there is one run")

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        return list(self.contexts)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        numbers = []
        for message in messages:
            message.content = _copy(message.content)
            number = str(next(self._numbers))
            self._asked[number] = message
            numbers.append(number)
        return numbers

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [self._answer(self._asked.pop(number)) for number in message_ids if number in self._asked]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        return self.pull_messages(self.push_messages(messages))

    def _answer(self, message: Message) -> Message:
        try:
            return self.app(message, self.contexts[message.metadata.dst_node_id])
        except Exception as error:  # noqa: BLE001 - as Flower's engine does: a node's failure is an answer
            return Message(Error(_FAILED, f"{type(error).__name__}: {error}"), reply_to=message)


def _copy(content: RecordDict) -> RecordDict:
    """A node's own content, as by wire: Flower's SecAgg+ takes entries out of the config that it answers.

    Arrays, which nobody changes, lie in memory once.
    """
    return RecordDict(
        {name: ConfigRecord({**part}) if isinstance(part, ConfigRecord) else part for name, part in content.items()}
    )
