"""The client of the endpoint, and a patient written as a request."""

from typing import Any

import requests

from foundation.errors import UserError
from serve.schema import BundleSchema, Response


def send(address: str, token: str, body: bytes, seconds: float) -> Response:
    """Sends one patient and returns the answer.

    Raises:
        UserError: if nobody answers, or the answer is a refusal.
    """
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        reply = requests.post(address, data=body, headers=headers, timeout=seconds)
    except requests.ConnectionError as error:
        raise UserError(f"{address}: nobody answers; start the server with python -m serve") from error
    except requests.Timeout as error:
        raise UserError(f"{address}: no answer within {seconds:g} s; send fewer images or raise seconds=") from error
    except requests.RequestException as error:
        raise UserError(f"{address}: {error}; give the address that python -m serve printed") from error
    if reply.status_code != 200:
        raise UserError(f"the server refused the request ({reply.status_code}): {_reason(reply)}")
    return Response.model_validate(reply.json())


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
        return reply.text[:200] or reply.reason
    return str(content.get("detail") or content.get("message") or content)
