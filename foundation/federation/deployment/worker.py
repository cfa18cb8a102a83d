"""One order at a site, in a process of its own that the site's warm process forks."""

import logging
import multiprocessing
import os
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

import httpx
from flwr.app import Message, MessageType

from foundation.errors import UserError
from foundation.federation.deployment.app_bundle import check_bundle
from foundation.federation.deployment.flower_patches import ask_for_objects_often, inflate_in_bounds
from foundation.federation.deployment.parcels import unwrapped, wrapped
from foundation.federation.deployment.runtime_client import ClaimedOrder, failure

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
    apology: Message | None = None
    seconds = _STARTS_IN
    try:
        if here.poll(_STARTS_IN):
            apology = here.recv()
            seconds = apology.metadata.ttl
    except EOFError:
        pass  # it died before it had read the order
    left = _STARTS_IN if apology is None else apology.metadata.created_at + seconds - time.time()
    process.join(max(0.0, left))
    reason = None if process.exitcode == 0 else f"the site's process ended with code {process.exitcode}"
    if process.exitcode is None:
        reason = f"the site's process took longer than the {seconds:.0f} s of its order"
        process.terminate()
        process.join(_GRACE)
        process.kill()
        process.join()
    if reason is not None:
        try:
            ClaimedOrder(task.runtime, task.token, patient=False).fail(apology, reason)
        except httpx.HTTPError as error:
            reason += f", and its SuperNode does not take that answer ({error})"
    return reason


def _answer(task: Task, parent: Connection) -> None:
    """In the forked process: reads the order, runs the installed app, sends its answer."""
    from foundation.federation.site.app import app

    _end_with(os.getppid())
    ask_for_objects_often()
    inflate_in_bounds()
    order = ClaimedOrder(task.runtime, task.token)
    with order.kept_alive():
        message, context, bundle = order.read()
        parent.send(failure(message, ""))  # what the parent answers if this process dies
        answer = _refusal(message, bundle, task.release)
        if answer is None:
            try:
                answer = wrapped(app(unwrapped(message), context))
            except Exception as error:
                logging.getLogger("flwr").exception("the order failed")
                answer = failure(message, f"{type(error).__name__} at the site; its log has the details")
        order.answer(answer, context)


def _refusal(message: Message, bundle: bytes, release: str) -> Message | None:
    """The answer to an order whose bundle is not what it should be.

    A site says its name to any release, though, so that the server can name it among those that decline.
    """
    asks_name = message.metadata.message_type == MessageType.QUERY
    try:
        check_bundle(bundle, None if asks_name else release)
    except UserError as error:
        return failure(message, str(error))
    return None


def _end_with(parent: int) -> None:
    """Ends this process when its parent is gone: nobody would take its answer."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
