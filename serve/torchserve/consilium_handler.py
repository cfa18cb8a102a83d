"""TorchServe's side of the predictor; TorchServe imports this file by its base name."""

import pathlib

import torch

import serve.late_imports

with serve.late_imports.late_imports():
    import serve.card_endpoint
    import serve.explanation
    import serve.host
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
        with serve.late_imports.late_imports():
            self.predictor = serve.predictor.Predictor.load(folder / "bundle", device)
        self.card = serve.card_endpoint.Card.load(folder / "bundle")

    def handle(self, rows, context) -> list[bytes]:  # type: ignore[no-untyped-def]
        """Answers a batch: each request its own status, content type, request id and body."""
        calls = [
            serve.host.Call(
                body=row.get("body") or row.get("data") or b"",
                headers=context.get_all_request_header(index),
                default_id=context.get_request_id(index),
            )
            for index, row in enumerate(rows)
        ]
        cards = [self.card.reply(call) for call in calls]
        asked = [call for call, card in zip(calls, cards, strict=True) if card is None]
        answers = iter(serve.explanation.replies(self.predictor, asked))
        replies = [next(answers) if card is None else card for card in cards]
        for index, reply in enumerate(replies):
            context.set_response_status(reply.status, reply.phrase, index)
            for name, value in reply.headers.items():
                context.set_response_header(index, name, value)
        return [reply.body for reply in replies]
