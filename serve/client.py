"""Calling the endpoint, and writing a patient as a request."""

import base64
import io
import math
from typing import Any

import numpy as np
import requests
from PIL import Image

from foundation.errors import UserError
from serve.inputs import FeaturesSpec, GenesSpec, ImagesSpec
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
    """A raw sample, as `Cohort.sample` gives it, as the request that says the same; images as PNG, so none is changed.

    Args:
        sample: raw values by modality.
        schema: of the bundle that will answer; what it does not know is left out.
    """
    request: dict[str, Any] = {}
    for name, spec in schema.modalities.items():
        if name not in sample:
            continue
        raw = sample[name]
        if isinstance(spec, ImagesSpec):
            request[name] = [_png(image) for image in raw]
        elif isinstance(spec, FeaturesSpec):
            request[name] = [[float(number) for number in tile] for tile in raw]
        elif isinstance(spec, GenesSpec):
            request[name] = {"unit": spec.unit} | {
                channel: {gene: float(v) for gene, v in zip(spec.genes, values, strict=True) if not np.isnan(v)}
                for channel, values in raw.items()
            }
        elif isinstance(raw, dict):
            request[name] = {key: value for key, value in raw.items() if not _missing(value)}
        else:
            request[name] = raw
    return request


def _png(image: Any) -> str:
    stream = io.BytesIO()
    Image.fromarray(np.asarray(image, dtype=np.uint8)).save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode()


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _reason(reply: requests.Response) -> str:
    """The one telling line of a refusal, ours or TorchServe's."""
    try:
        content = reply.json()
    except ValueError:
        return reply.text[:200] or reply.reason
    return str(content.get("error") or content.get("message") or content)
