"""`python -m serve.predict patient.json`: one patient, or a FHIR Bundle of one, to a running server, and its answer."""

import json
import sys
from pathlib import Path

from omegaconf import DictConfig

from foundation.command import command, name_first_argument
from foundation.errors import UserError
from foundation.files import write_json


@command("predict")
def main(cfg: DictConfig) -> None:
    """Sends the patient and prints prediction, modalities used and model version as JSON."""
    from serve.client import Client
    from serve.server import Server

    path = Path(cfg.patient)
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a patient's JSON: python -m serve.predict patient.json")
    server = Server.load(Path(cfg.server))
    if not Path(server.key_file).is_file():
        raise UserError(f"{server.key_file}: no key file, so the server has stopped; start it with python -m serve")
    client, body = Client(server.address, server.token(), cfg.seconds, trust=server.trust()), path.read_bytes()
    response = client.predict_fhir(body) if _is_fhir(body) else client.predict(body).model_dump()
    print(json.dumps(response, indent=2))
    if cfg.output is not None:
        Path(cfg.output).mkdir(parents=True, exist_ok=True)
        write_json(Path(cfg.output) / "response.json", response)


def _is_fhir(body: bytes) -> bool:
    """Whether a file is a FHIR Bundle; what is no JSON at all, the server says."""
    try:
        content = json.loads(body)
    except ValueError:
        return False
    return isinstance(content, dict) and content.get("resourceType") == "Bundle"


if __name__ == "__main__":
    sys.argv[1:] = name_first_argument("patient", sys.argv[1:])
    main()
