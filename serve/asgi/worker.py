"""Workers: processes that hold the model and answer batches. They are copies of one that loads it and never answers.

python -m serve.asgi.worker BUNDLE SEAL
"""

import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from foundation.errors import UserError
from serve import manifest
from serve.asgi import forking, frames, inference
from serve.host import Call, Reply
from serve.late_imports import late_imports

if TYPE_CHECKING:
    from serve.predictor import Predictor


def command(bundle: Path, seal: str) -> list[str]:
    """The command line of the fork server of a bundle as it was when it was verified, and no other.

    Args:
        bundle: folder.
        seal: of `manifest.seal`, taken then: it may be started anew days later, when another may lie there.
    """
    return [sys.executable, "-m", "serve.asgi.worker", str(bundle), seal]


def main() -> None:
    """Loads the bundle, and makes workers until the front ends."""
    # A terminal's Ctrl-C and a service manager's SIGTERM reach all processes, but are for the front, which drains.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.dup2(2, 1)  # whatever a library prints stands in the log
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format='{"worker": "%(levelname)s %(message)s"}')
    try:
        forking.check()
        predictor = _load(Path(sys.argv[1]), sys.argv[2])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    forking.serve(lambda stream: _serve(predictor, stream))


def _load(bundle: Path, seal: str) -> "Predictor":
    manifest.verify(bundle)  # before seconds of imports: what was altered is refused at once
    if manifest.seal(bundle) != seal:
        raise UserError(f"{bundle}: another bundle lies there by now; start again to serve it")

    gc.disable()  # what is imported stays: to look through it again and again is a fifth of a start

    import torch

    torch.set_num_threads(1)
    with late_imports():
        from serve import explanation  # noqa: F401 (else the first answer would wait for it)
        from serve.predictor import Predictor

        return Predictor.load(bundle)


def _serve(predictor: "Predictor", stream: BinaryIO) -> None:
    """Says that it is ready, and answers until there is no more to answer."""
    import torch

    gc.enable()
    if torch.cuda.is_available():  # asked here first: a process that has touched a GPU cannot be copied
        predictor.model.to(torch.device("cuda"))
    stream.write(frames.Frame([frames.READY], [b""]).encode())
    stream.flush()
    while (frame := frames.read(stream)) is not None:
        stream.write(frames.of_replies(_answer(predictor, frames.to_calls(frame))).encode())
        stream.flush()


def _answer(predictor: "Predictor", calls: Sequence[Call]) -> list[Reply]:
    """Replies in order: patients, and calls of many that the front is to have split."""
    from serve.explanation import replies  # the front reads this module, too, and loads no model

    splits = [inference.split(call) if call.header("content-type") == inference.MEDIA_TYPE else None for call in calls]
    answers = iter(replies(predictor, [call for call, one in zip(calls, splits, strict=True) if one is None]))
    return [next(answers) if one is None else one for one in splits]


if __name__ == "__main__":
    main()
