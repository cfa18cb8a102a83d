"""The client of the endpoint, and a patient written as a request."""

from typing import Any

import requests

from foundation.errors import UserError
from serve.schema import BundleSchema, Response

_SHOWN = 1000  # characters of a server's refusal


def post(address: str, token: str, body: bytes, seconds: float) -> requests.Response:
    """What the server at an address replies, and no other: a patient goes to no proxy and follows no redirect.

    Raises:
        RequestException: of requests, if nobody answers in time.
    """
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return reach("POST", address, data=body, headers=headers, timeout=seconds)


def reach(method: str, address: str, **options: Any) -> requests.Response:
    """What the server at an address itself replies, whatever proxies the environment names.

    Args:
        method: of HTTP.
        address: of the server.
        options: of `requests.request`.

    Raises:
        RequestException: of requests, if nobody answers in time.
    """
    with requests.Session() as session:
        session.trust_env = False  # neither the environment's proxies nor the token of a .netrc
        return session.request(method, address, allow_redirects=False, **options)


def send(address: str, token: str, body: bytes, seconds: float) -> Response:
    """Sends one patient and returns the answer.

    Raises:
        UserError: if nobody answers, or the answer is a refusal, or none of this release's servers.
    """
    try:
        reply = post(address, token, body, seconds)
    except requests.ConnectionError as error:
        raise UserError(f"{address}: nobody answers; start the server with python -m serve") from error
    except requests.Timeout as error:
        raise UserError(f"{address}: no answer within {seconds:g} s; send fewer images or raise seconds=") from error
    except requests.RequestException as error:
        raise UserError(f"{address}: {error}; give the address that python -m serve printed") from error
    if reply.status_code != 200:
        raise UserError(f"the server refused the request ({reply.status_code}): {_reason(reply)}")
    try:
        return Response.model_validate(reply.json())
    except ValueError as error:  # no JSON, or another object; what stands in it is not ours to show
        raise UserError(
            f"{address}: the answer is none of this release; start its server with python -m serve"
        ) from error


def to_request(sample: dict[str, Any], schema: BundleSchema) -> dict[str, Any]:
    """A raw sample, as `Cohort.sample` gives it, as the request that says the same.

    Args:
        sample: raw values by modality.
        schema: of the bundle that will answer; what it does not know is left out.
    """
    return {name: form.write(sample[name]) for name, form in schema.modalities.items() if name in sample}


def _reason(reply: requests.Response) -> str:
    """The one telling line of a refusal: of problem details, or in TorchServe's own form."""
    try:
        content = reply.json()
    except ValueError:
        content = None
    detail = content.get("detail") or content.get("message") if isinstance(content, dict) else None
    text = str(detail or reply.text or reply.reason)[:_SHOWN]
    return "".join(character if character.isprintable() else " " for character in text)
