"""A site's way to its own SuperNode, on loopback: claims orders, reads them, answers them."""

from collections.abc import Iterator
from contextlib import contextmanager

from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode, SubStatus
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.retry import make_simple_http_retry_invoker
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

_CLAIM = "/flwr.proto.Runtime/AcquireTask"


class OrderQueue:
    """The orders that a SuperNode has taken.

    Args:
        address: of the SuperNode's interface, host:port.
        secret: that the SuperNode shares with the site's own processes.
    """

    def __init__(self, address: str, secret: bytes) -> None:
        self._client = RuntimeHttpClient.from_server_address(
            address,
            insecure=True,  # on loopback
            root_certificates=None,
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="SuperExec"),
                SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods={_CLAIM}),
            ],
        )

    def claim(self) -> str:
        """The token of the next order; empty if there is none.

        Raises:
            httpx.TransportError: if the SuperNode does not answer.
            httpx.HTTPStatusError: if it refuses.
        """
        return self._client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP])).token


class ClaimedOrder:
    """An order, between its claim and its answer.

    Args:
        address: of the SuperNode's interface, host:port.
        token: that `OrderQueue.claim` gave.
        patient: whether failed requests are tried again. Where the SuperNode has given the order up, Flower's retries
            interrupt this process.
    """

    def __init__(self, address: str, token: str, patient: bool = True) -> None:
        self._client = RuntimeHttpClient.from_server_address(
            address,
            insecure=True,  # on loopback
            root_certificates=None,
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="flwr-clientapp"),
                RuntimeTokenHttpInterceptor(token),
            ],
            retry_invoker=make_simple_http_retry_invoker() if patient else None,
        )

    @contextmanager
    def kept_alive(self) -> Iterator[None]:
        """While an answer is worked on, the SuperNode is told so; afterwards the connection is closed."""
        heartbeat = HeartbeatSender(make_task_heartbeat_fn_http(self._client))
        heartbeat.start()
        try:
            yield
        finally:
            heartbeat.stop()
            self._client.close()

    def read(self) -> tuple[Message, Context, bytes]:
        """The order, what the node knows of itself, and the run's app bundle."""
        message, context, _, bundle = pull_task_input(self._client)
        return message, context, bundle.content

    def answer(self, reply: Message, context: Context) -> None:
        """Sends an answer, and what the node shall know from now on."""
        push_message(self._client, reply, context)
        push_task_output(self._client, context, SubStatus.COMPLETED, "")

    def fail(self, reply: Message | None, reason: str) -> None:
        """Gives the order up.

        Args:
            reply: made by `failure`; None if the order was never read.
            reason: that it is answered with.
        """
        if reply is not None:
            metadata, reply.error = reply.metadata, Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason)
            push_message(self._client, reply, Context(metadata.run_id, metadata.src_node_id, {}, RecordDict(), {}))
        push_task_output(self._client, None, SubStatus.FAILED, reason)
        self._client.close()


def failure(order: Message, reason: str) -> Message:
    """The answer to an order that the site could not do."""
    return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=order)
