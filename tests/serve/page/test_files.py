"""Files of the form that take their time, or cannot be read: nothing is asked without them, nor with another's."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from serve.predictor import Predictor
from tests.serve.page.test_page import example, predictions

pytestmark = pytest.mark.process


def delayed(page: Any) -> None:
    """Has files of the page read only once `open()` is called, as those of a slow share are."""
    page.evaluate(
        """() => {
          const gate = new Promise((open, fail) => Object.assign(window, { open, fail }));
          const { text, stream } = Blob.prototype;
          Blob.prototype.text = async function () { await gate; return text.call(this); };
          Blob.prototype.stream = function () {
            const { readable, writable } = new TransformStream();
            gate.then(() => stream.call(this).pipeTo(writable), (error) => writable.abort(error).catch(() => {}));
            return readable;
          };
        }"""
    )


def choose(page: Any, bundle: Path) -> None:
    """An image and a table."""
    tile = base64.b64decode(example(bundle)["pathology"][0])
    page.set_input_files("#pathology-files", {"name": "tile.png", "mimeType": "image/png", "buffer": tile})
    table = {"name": "genes.csv", "mimeType": "text/csv", "buffer": b"TP53,5.5"}
    page.set_input_files("#genomics input[aria-label^=Expression]", table)


def test_files_that_are_still_read_when_it_is_asked_are_waited_for(connected: Any, predictor: Predictor, bundle: Path):
    delayed(connected)
    choose(connected, bundle)
    connected.fill("#report-text", "Nuclear atypia is high.")
    connected.select_option("[id='genomics.unit']", label="log2_tpm")
    with connected.expect_request(f"**{predictions(predictor)}") as sent:
        connected.click("button.main")
        connected.wait_for_timeout(100)
        connected.evaluate("open()")
    request = json.loads(sent.value.post_data)
    assert request["pathology"] == example(bundle)["pathology"][:1]
    assert request["genomics"]["expression"] == {"TP53": 5.5}


def test_files_that_are_still_read_when_the_form_is_cleared_are_nobody_s(connected: Any, bundle: Path):
    delayed(connected)
    choose(connected, bundle)
    connected.click("button[type=reset]")
    connected.evaluate("open()")
    connected.wait_for_timeout(200)
    assert connected.locator("#pathology li").count() == 0
    assert connected.input_value("[id='genomics.expression']") == ""


def test_a_file_that_cannot_be_read_is_said_and_nothing_is_asked_without_it(
    connected: Any, predictor: Predictor, bundle: Path
):
    posts: list[str] = []
    connected.on("request", lambda request: posts.append(request.method))
    delayed(connected)
    choose(connected, bundle)
    connected.fill("#report-text", "Nuclear atypia is high.")
    connected.click("button.main")
    connected.evaluate("fail(new Error('gone'))")
    connected.wait_for_selector(".problem")
    connected.wait_for_function("!document.querySelector('button.main').disabled")
    assert "cannot be read, and nothing chosen with it was taken" in connected.inner_text(".problem")
    assert connected.locator(".problem").count() == 1
    assert connected.inner_text("#status").startswith("Not answered.")
    assert "POST" not in posts
