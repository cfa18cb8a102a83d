"""TorchServe's side of the predictor; TorchServe imports this file by its base name."""

import pathlib

import torch

import foundation.errors
import serve.predictor


class ConsiliumHandler:
    """Hands requests to the predictor and its answers back.

    Statuses are set request by request: TorchServe batches requests of several senders, and one that cannot be read
    must not fail the others.
    """

    def initialize(self, context) -> None:  # type: ignore[no-untyped-def]
        """Loads the bundle that lies in the archive."""
        torch.set_num_threads(1)
        folder = pathlib.Path(context.system_properties["model_dir"])
        gpu = context.system_properties.get("gpu_id")  # TorchServe deals the machine's GPUs out to its workers
        device = torch.device("cpu") if gpu is None or not torch.cuda.is_available() else torch.device("cuda", int(gpu))
        self.predictor = serve.predictor.Predictor.load(folder / "bundle", device)

    def handle(self, rows, context) -> list[dict[str, object]]:  # type: ignore[no-untyped-def]
        """Answers a batch: 200 with a response, or 400 with one line that names the field."""
        answers = self.predictor.answer([row.get("body") or row.get("data") or b"" for row in rows])
        replies: list[dict[str, object]] = []
        for index, answer in enumerate(answers):
            if isinstance(answer, foundation.errors.UserError):
                context.set_response_status(400, "Bad Request", index)
                replies.append({"code": 400, "error": str(answer)})
            else:
                replies.append(answer.model_dump())
        return replies
