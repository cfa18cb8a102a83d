"""`python -m serve.predict patient.json`: one patient to a running server, and its answer."""

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
    response = Client(server.address, server.token(), cfg.seconds).predict(path.read_bytes()).model_dump()
    print(json.dumps(response, indent=2))
    if cfg.output is not None:
        Path(cfg.output).mkdir(parents=True, exist_ok=True)
        write_json(Path(cfg.output) / "response.json", response)


if __name__ == "__main__":
    sys.argv[1:] = name_first_argument("patient", sys.argv[1:])
    main()
