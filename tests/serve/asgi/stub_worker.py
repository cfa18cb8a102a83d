"""A worker without a model: answers with the size of its batch, and dies or hangs where a body says so."""

import os
import sys
import time
from typing import BinaryIO

from serve.asgi import forking, frames
from serve.host import Reply


def work(answers: BinaryIO) -> None:
    version = "".join(f" {word}" for word in sys.argv[1:]).encode()
    answers.write(frames.Frame([frames.READY], [b""]).encode())
    answers.flush()
    while (frame := frames.read(answers)) is not None:
        calls = frames.to_calls(frame)
        bodies = [call.body for call in calls]
        if b"die" in bodies:
            os._exit(1)
        if b"slow" in bodies:
            time.sleep(0.3)
        if b"hang" in bodies:
            time.sleep(60)
        if b"babble" in bodies:
            answers.write(b"x" * 2 * frames.LONGEST_LINE)
            answers.flush()
        replies = [
            Reply(200, body + b" of %d by %d%s" % (len(calls), os.getpid(), version), {})
            for body in bodies
            if body != b"lost"
        ]
        answers.write(frames.of_replies(replies).encode())
        answers.flush()


if __name__ == "__main__":
    forking.serve(work)
