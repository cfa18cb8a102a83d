"""Good requests in batches with hostile ones, in process: which are answered as alone, how the others are refused.

    python scripts/bench/hostile_requests.py runs/demo/export

Batches of eight hold good requests and hostile ones by chance. Printed last: the share of good requests that got the
answer that they get alone, beside the bar of 99.9 %; before it, the statuses of the others and how memory grew.
"""

import argparse
import base64
import io
import json
import random
import resource
from collections import Counter
from pathlib import Path

import torch
from PIL import Image

from foundation.modalities.request import RequestError
from serve.bundle import largest_difference
from serve.predictor import Predictor
from serve.schema import Response

BATCH = 8
SAME = 1e-5  # single precision: a neighbour changes the order of sums


def png(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def hostile() -> list[str]:
    """Bodies of which none may be answered."""
    bomb = png(Image.new("1", (8192, 8192), 1))
    return [
        json.dumps({"pathology": [bomb] * 10}),
        json.dumps({"pathology": [png(Image.new("RGB", (64, 64)))[:-40]]}),
        '{"record": {"age": 1e22}}',
        '{"record": {"age": 1e308}}',
        '{"record": {"age": %s}}' % ("9" * 5000),
        '{"record": {"age": NaN}}',
        '{"record": {"age": 61, "age": 62}}',
        '{"genomics": {"copy_number": {"TP53": 1e30}}}',
        '{"genomics": {"unit": "log2_tpm", "expression": {"TP53": 7377}}}',
        r'{"report": "\ud800"}',
        json.dumps({"report": "a" * 300_000}),
        "[" * 100_000,
        "{",
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, help="output folder of python -m serve.export")
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--share", type=float, default=0.4, help="of hostile requests")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    predictor = Predictor.load(arguments.export / "bundle")
    good = [
        '{"report": "Nuclear atypia is high."}',
        '{"record": {"age": 61}}',
        '{"genomics": {"mutations": {"TP53": 1}}}',
    ]
    alone = dict(zip(good, (predictor.answer([body])[0] for body in good), strict=True))
    bad, draw = hostile(), random.Random(0)
    statuses: Counter[int] = Counter()
    as_alone = sent = answered_bad = 0
    start = 0
    for index in range(arguments.batches):
        bodies = [draw.choice(bad if draw.random() < arguments.share else good) for _ in range(BATCH)]
        for body, answer in zip(bodies, predictor.answer(bodies), strict=True):
            if body in alone:
                expected = alone[body]
                sent += 1
                as_alone += (
                    isinstance(answer, Response)
                    and isinstance(expected, Response)
                    and largest_difference(answer.prediction, expected.prediction) < SAME
                )
            elif isinstance(answer, RequestError):
                statuses[answer.status] += 1
            else:
                answered_bad += 1
        if index == arguments.batches // 4:
            start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1024
    print(f"hostile requests by status: {dict(sorted(statuses.items()))}; answered: {answered_bad}")
    print(f"peak memory grew by {grown:.1f} MiB over the last three quarters")
    print(f"good requests answered as alone: {as_alone} of {sent}, {as_alone / sent:.2%} (bar: 99.9 %)")


if __name__ == "__main__":
    main()
