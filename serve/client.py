"""The client of the endpoint, and a patient written as a request.

from serve.client import Client

client = Client.of(Path("runs/serve"))
client.predict({"report": "Diffuse glioma."}).prediction
"""

import time
from pathlib import Path
from typing import Any

import requests

from serve.conversation import Conversation, Patient, encode
from serve.host import FHIR
from serve.schema import BundleSchema, Response
from serve.server import Server


class Client(Conversation):
    """Asks an endpoint, one request after another; see `serve.async_client.AsyncClient` for many at a time."""

    @classmethod
    def of(cls, folder: Path, **options: Any) -> "Client":
        """The client of the server that runs from a folder of `python -m serve`, by its own token.

        Raises:
            UserError: if none was started there.
        """
        server = Server.load(folder)
        return cls(server.address, server.token(), **options)

    def predict(self, patient: Patient, request_id: str | None = None) -> Response:
        """The answer about one patient.

        Args:
            patient: by modality, as `request.schema.json` of the bundle says; or that as JSON text.
            request_id: to be echoed.

        Raises:
            RefusedError: if the server refuses it, and again where it is busy.
            UserError: if nobody answers, or it is no server of this release.
        """
        reply = self._ask(encode(patient), self.headers(request_id))
        return self.read(reply.status_code, reply.content, reply.reason)

    def predict_fhir(self, bundle: Patient, request_id: str | None = None) -> dict[str, Any]:
        """The answer about the patient of a FHIR R4 Bundle, as one: RiskAssessment, DiagnosticReport and Provenance.

        Args:
            bundle: of one patient; or that as JSON text.
            request_id: to be echoed.

        Raises:
            UserError: see `predict`.
        """
        reply = self._ask(encode(bundle), self.headers(request_id, FHIR))
        return self.read_fhir(reply.status_code, reply.content, reply.reason)

    def _ask(self, body: bytes, headers: dict[str, str]) -> requests.Response:
        attempt = 0
        while True:
            attempt += 1
            reply = self._post(body, headers)
            pause = self.retries.pause(attempt, reply.status_code, reply.headers.get("Retry-After"))
            if pause is None:
                return reply
            time.sleep(pause)

    def _post(self, body: bytes, headers: dict[str, str]) -> requests.Response:
        try:
            return reach("POST", self.address, data=body, headers=headers, timeout=self.seconds)
        except requests.ConnectionError as error:
            raise self.nobody_answers() from error
        except requests.Timeout as error:
            raise self.too_slow() from error
        except requests.RequestException as error:
            raise self.unreachable(error) from error


def reach(method: str, address: str, **options: Any) -> requests.Response:
    """What the server at an address itself replies: a patient goes to no proxy and follows no redirect.

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


def to_request(sample: dict[str, Any], schema: BundleSchema) -> dict[str, Any]:
    """A raw sample, as `Cohort.sample` gives it, as the request that says the same.

    Args:
        sample: raw values by modality.
        schema: of the bundle that will answer; what it does not know is left out.
    """
    return {name: form.write(sample[name]) for name, form in schema.modalities.items() if name in sample}
