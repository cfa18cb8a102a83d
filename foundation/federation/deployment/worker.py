"""One order at a site, in a process of its own that the site's warm process forks."""

import logging
import multiprocessing
import os
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

import httpx
from flwr.app import Context, Error, Message, MessageType, Metadata, RecordDict
from flwr.app.message import make_message
from flwr.common.constant import ErrorCode, SubStatus
from flwr.supercore.fab import Fab
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.interceptors import RuntimeTokenHttpInterceptor, RuntimeVersionHttpInterceptor
from flwr.supercore.retry import RetryInvoker, make_simple_http_retry_invoker
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

from foundation.errors import UserError
from foundation.federation.deployment.app_bundle import check_bundle

_STARTS_IN = 60.0
_GRACE = 5.0


@dataclass(frozen=True)
class Task:
    """A claimed order.

    Attributes:
        runtime: address of the SuperNode's interface on loopback.
        token: that allows to answer it.
        release: of this project that is installed here.
    """

    runtime: str
    token: str
    release: str


def run_task(task: Task, context: multiprocessing.context.ForkServerContext) -> str | None:
    """Answers an order in a forked process; says why there is no answer, if there is none.

    A process that dies, or works on beyond the time in which its answer counts, is answered for at once: the SuperNode
    takes the next order only when this one has its answer.
    """
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(task, there))
    process.start()
    there.close()
    order: tuple[Metadata, Context] | None = None
    try:
        if here.poll(_STARTS_IN):
            order = here.recv()
    except EOFError:
        pass  # it died before it had read the order
    left = None if order is None else order[0].created_at + order[0].ttl - time.time()
    process.join(_STARTS_IN if left is None else max(0.0, left))
    reason = None if process.exitcode == 0 else f"the site's process ended with code {process.exitcode}"
    if process.exitcode is None:
        reason = f"the site's process took longer than the {order[0].ttl if order else _STARTS_IN:.0f} s of its order"
        process.terminate()
        process.join(_GRACE)
        process.kill()
        process.join()
    if reason is not None:
        try:
            _answer_for(task, order, reason)
        except httpx.HTTPError as error:
            reason += f", and its SuperNode does not take that answer ({error})"
    return reason


def _answer(task: Task, parent: Connection) -> None:
    """In the forked process: reads the order, runs the installed app, sends its answer."""
    from foundation.federation.site.app import app

    _end_with(os.getppid())
    client = _client(task, make_simple_http_retry_invoker())
    heartbeat = HeartbeatSender(make_task_heartbeat_fn_http(client))
    heartbeat.start()
    message, context, _, bundle = pull_task_input(client)
    parent.send((message.metadata, Context(context.run_id, context.node_id, {}, RecordDict(), {})))
    answer = _refusal(message, bundle, task.release)
    if answer is None:
        try:
            answer = app(message, context)
        except Exception as error:
            logging.getLogger("flwr").exception("the order failed")
            answer = _error(message, f"{type(error).__name__} at the site; its log has the details")
    push_message(client, answer, context)
    push_task_output(client, context, SubStatus.COMPLETED, "")
    heartbeat.stop()
    client.close()


def _answer_for(task: Task, order: tuple[Metadata, Context] | None, reason: str) -> None:
    # Without retries: where the SuperNode has given the order up, Flower's would interrupt this process.
    client = _client(task, None)
    if order is not None:
        metadata, context = order
        push_message(client, _error(make_message(metadata, RecordDict()), reason), context)
    push_task_output(client, None, SubStatus.FAILED, reason)
    client.close()


def _refusal(message: Message, bundle: Fab, release: str) -> Message | None:
    """The answer to an order whose bundle is not what it should be.

    A site says its name to any release, though, so that the server can name it among those that decline.
    """
    asks_name = message.metadata.message_type == MessageType.QUERY
    try:
        check_bundle(bundle.content, None if asks_name else release)
    except UserError as error:
        return _error(message, str(error))
    return None


def _error(message: Message, reason: str) -> Message:
    return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)


def _client(task: Task, retries: RetryInvoker | None) -> RuntimeHttpClient:
    return RuntimeHttpClient.from_server_address(
        server_address=task.runtime,
        insecure=True,  # on loopback, between processes of one site
        root_certificates=None,
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="flwr-clientapp"),
            RuntimeTokenHttpInterceptor(task.token),
        ],
        retry_invoker=retries,
    )


def _end_with(parent: int) -> None:
    """Ends this process when its parent is gone: nobody would take its answer."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
