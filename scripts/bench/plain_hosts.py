"""A predictor behind plain FastAPI or LitServe, as a newcomer would write it: what `hosts.py` compares with.

python scripts/bench/plain_hosts.py fastapi|litserve BUNDLE PORT BATCH
"""

import argparse
import importlib.util
from pathlib import Path
from typing import Any

import torch

from serve.predictor import Predictor

if importlib.util.find_spec("litserve"):
    from litserve import LitAPI

WAIT_SECONDS = 0.02
Base: Any = LitAPI if importlib.util.find_spec("litserve") else object


class Api(Base):
    """LitServe's side of the predictor; at the top, for LitServe sends it to processes of its own."""

    bundle: Path

    def setup(self, device: str) -> None:
        torch.set_num_threads(1)
        self.predictor = Predictor.load(self.bundle)

    def decode_request(self, request):  # type: ignore[no-untyped-def]
        return request

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs

    def predict(self, inputs: list[Any]) -> list[Any]:
        return list(self.predictor.answer(inputs))

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output

    def encode_response(self, output: Any) -> Any:
        return output.model_dump()


def fastapi(bundle: Path, port: int, batch: int) -> None:
    import uvicorn
    from fastapi import FastAPI

    torch.set_num_threads(1)
    predictor, app = Predictor.load(bundle), FastAPI()

    def predict(request: dict[str, Any]) -> dict[str, Any]:
        return predictor.answer([request])[0].model_dump()  # type: ignore[union-attr]

    app.post("/predict")(predict)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")


def litserve(bundle: Path, port: int, batch: int) -> None:
    import litserve as ls

    api = Api(max_batch_size=batch, batch_timeout=WAIT_SECONDS)
    api.bundle = bundle
    ls.LitServer(api, accelerator="cpu").run(host="127.0.0.1", port=port, generate_client_file=False, log_level="error")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host", choices=["fastapi", "litserve"])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("batch", type=int, help="requests answered together, at most, where the host batches")
    arguments = parser.parse_args()
    {"fastapi": fastapi, "litserve": litserve}[arguments.host](arguments.bundle, arguments.port, arguments.batch)


if __name__ == "__main__":
    main()
