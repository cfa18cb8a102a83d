"""The endpoint that answers about studies, and the connection to it, made anew after it was away."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from foundation.errors import UserError
from serve import conversation
from serve.clinic.archive import LateError, UnavailableError
from serve.conversation import Patient, RefusedError
from serve.explained import Explanation
from serve.schema import Response

Value = TypeVar("Value")


class Endpoint(Protocol):
    """What answers: `serve.async_client.AsyncClient`."""

    async def predict(self, patient: Patient, request_id: str | None = None) -> Response:
        """The answer about one patient."""

    async def explain(self, patient: Patient, request_id: str | None = None) -> Explanation:
        """What it goes by."""

    async def close(self) -> None:
        """Ends its connections."""


class Connection:
    """Keeps an endpoint's connections while it answers.

    Args:
        endpoint: gives one that answers now.
    """

    def __init__(self, endpoint: Callable[[], Endpoint]) -> None:
        self._new_endpoint = endpoint
        self._endpoint: Endpoint | None = None

    async def call(self, ask: Callable[[Endpoint], Awaitable[Value]]) -> Value:
        """What the endpoint says.

        Raises:
            RefusedError: if it refuses.
            LateError: if it does not answer in time.
            UnavailableError: if nobody answers.
        """
        if self._endpoint is None:
            self._endpoint = self._new_endpoint()
        try:
            return await ask(self._endpoint)
        except RefusedError:
            raise
        except conversation.LateError as error:
            raise LateError(str(error)) from error
        except UserError as error:
            raise UnavailableError(str(error)) from error

    async def close(self) -> None:
        """Ends the connections; they are made anew where they are needed."""
        if self._endpoint is not None:
            await self._endpoint.close()
            self._endpoint = None
