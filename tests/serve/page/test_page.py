"""The page as its users have it: example, files, tables and refusals, by keyboard, and on a phone."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from serve.predictor import Predictor
from serve.schema import Response
from tests.browser import PHONE, SCREENS, violations
from tests.serve.page.conftest import Site

pytestmark = pytest.mark.process


def asked(page: Any, path: str) -> dict[str, Any]:
    """The request that `Ask` sends."""
    with page.expect_request(f"**{path}") as sent:
        page.click("button.main")
    content: dict[str, Any] = json.loads(sent.value.post_data)
    return content


def predictions(predictor: Predictor) -> str:
    return f"/predictions/{predictor.schema.name}"


def example(bundle: Path, name: str = "everything") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((bundle / "examples.json").read_text())[name]
    return content


def test_an_example_is_sent_as_it_is_and_answered_in_words(connected: Any, predictor: Predictor, bundle: Path):
    connected.click("text=Everything")
    request = asked(connected, predictions(predictor))
    assert request == example(bundle)
    connected.wait_for_selector("#result .verdict")
    (answer,) = predictor.answer([json.dumps(request)])
    assert isinstance(answer, Response)
    chance = round(100 * answer.prediction["probabilities"][answer.prediction["class"]])
    said = f"Answer: {answer.prediction['class']}, probability {chance} %."
    assert connected.inner_text("#status[aria-live=polite]") == said
    rows = [row.inner_text().split("\t") for row in connected.locator("#result table").nth(1).locator("tbody tr").all()]
    assert [row[0].lower() for row in rows] == answer.modalities_used
    assert rows[0][1] == "{examined} of {of} {what}".format(**answer.examined["pathology"].model_dump())


def test_a_wrong_token_is_refused_at_its_field(page: Any, site: Site):
    page.goto(site.address)
    page.fill("#token", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("#connect .problem")
    assert "no valid token" in page.inner_text("#connect .problem")
    assert page.evaluate("document.activeElement.id") == "token"
    assert page.get_attribute("#token", "aria-invalid") == "true"
    assert page.is_hidden("#work")


def test_a_refusal_stands_at_the_field_that_it_names(connected: Any):
    connected.fill("[id='record.age']", "old")
    connected.click("button.main")
    connected.wait_for_selector("[data-field='record.age'][aria-invalid=true]")
    problem = connected.inner_text("#record .problem")
    assert problem == "found 'old'; give a finite number, or null where it is not known"
    assert connected.evaluate("document.activeElement.id") == "record.age"
    assert "problem" in connected.get_attribute("[id='record.age']", "aria-describedby").split()
    assert connected.inner_text("#status").startswith("Not answered. record.age: found 'old'")
    connected.fill("[id='record.age']", "61")
    connected.click("button.main")
    connected.wait_for_selector("#result .verdict")
    assert connected.locator(".problem, [aria-invalid]").count() == 0


def test_an_image_that_is_none_is_named_beside_those_that_are(connected: Any, bundle: Path):
    good = base64.b64decode(example(bundle)["pathology"][0])
    files = [
        {"name": "tile.png", "mimeType": "image/png", "buffer": good},
        {"name": "broken.png", "mimeType": "image/png", "buffer": b"no image"},
    ]
    connected.set_input_files("#pathology-files", files)
    connected.wait_for_selector("#pathology li:nth-child(2)")
    connected.click("button.main")
    connected.wait_for_selector("[data-field='pathology[1]'] .problem")
    assert "no readable PNG or JPEG image" in connected.inner_text("[data-field='pathology[1]'] .problem")
    connected.click("text=Remove >> nth=1")
    connected.click("button.main")
    connected.wait_for_selector("#result .verdict")


def test_a_gene_table_is_read_from_its_file(connected: Any, predictor: Predictor):
    table = b"gene\tvalue\nTP53\t5.5\nEGFR\tNA\nPTEN\t-1e-2\n"
    connected.set_input_files(
        "#genomics input[aria-label^=Expression]", {"name": "genes.tsv", "mimeType": "text/plain", "buffer": table}
    )
    while not connected.input_value("[id='genomics.expression']"):
        connected.wait_for_timeout(20)
    connected.select_option("[id='genomics.unit']", label="log2_tpm")
    request = asked(connected, predictions(predictor))
    assert request == {"genomics": {"unit": "log2_tpm", "expression": {"TP53": 5.5, "EGFR": None, "PTEN": -0.01}}}


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("TP53,1\nTP53,0", "TP53 stands twice, again in line 2; keep one; mend the table"),
        ("TP53,1\nEGFR,1,0", "line 2 has 3 columns; give a name and a value; mend the table"),
        ("TP53,0\n__proto__,2", "genomics.mutations.__proto__: found 2; a mutation is 1 (found)"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_at_its_place(connected: Any, table: str, problem: str):
    connected.fill("[id='genomics.mutations']", table)
    connected.click("button.main")
    connected.wait_for_selector("#genomics .problem")
    assert connected.inner_text("#genomics .problem").startswith(problem)


def test_what_a_sender_wrote_stays_text(connected: Any):
    gene = "<img src=x onerror=document.title='broken'>"
    connected.fill("[id='genomics.mutations']", f"TP53,1\n{gene},1")
    connected.click("button.main")
    connected.wait_for_selector("#result .warnings")
    assert gene in connected.inner_text("#result .warnings")
    assert connected.locator("#result img").count() == 0


def test_nothing_of_a_patient_stays_and_nobody_else_is_asked(connected: Any, site: Site):
    addresses: list[str] = []
    connected.on("request", lambda request: addresses.append(request.url))
    connected.fill("#report-text", "Nuclear atypia is high.")
    connected.click("button.main")
    connected.wait_for_selector("#result .verdict")
    stored = "[JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie]"
    assert connected.evaluate(stored) == ["{}", json.dumps({"consilium-token": site.token}, separators=(",", ":")), ""]
    assert addresses and all(address.startswith(site.address) for address in addresses)
    connected.reload()
    connected.wait_for_selector("#work:not([hidden])")
    assert connected.input_value("#report-text") == ""


@pytest.mark.parametrize("button", ["button.main", "#explain"])
@pytest.mark.parametrize(
    ("leave", "status"),
    [("button[type=reset]", "Nothing asked yet."), ("text=Everything", "Example filled in; ask when ready.")],
)
def test_what_comes_back_once_another_patient_is_in_the_form_is_not_shown(
    connected: Any, button: str, leave: str, status: str
):
    held: list[Any] = []
    connected.fill("#report-text", "Nuclear atypia is high.")
    if button == "#explain":
        connected.click("button.main")
        connected.wait_for_selector("#explain")
    connected.route(re.compile("/(predictions|explanations)/"), lambda route: held.append(route))
    connected.click(button)
    while not held:
        connected.wait_for_timeout(20)
    connected.click(leave)
    connected.fill("#report-text", "Of another patient.")
    with connected.expect_response(re.compile("/(predictions|explanations)/")):
        held[0].continue_()
    connected.wait_for_timeout(200)
    assert connected.inner_text("#status") == status
    assert connected.inner_text("#result") == ""
    assert connected.is_enabled("button.main")


def test_an_answer_goes_once_its_form_is_changed(connected: Any, bundle: Path):
    tile = base64.b64decode(example(bundle)["pathology"][0])
    files = {"name": "tile.png", "mimeType": "image/png", "buffer": tile}

    def drop() -> None:
        data = connected.evaluate_handle(
            "() => { const d = new DataTransfer(); d.items.add(new File([], 'a')); return d; }"
        )
        connected.dispatch_event("#pathology .field", "drop", {"dataTransfer": data})

    changes = [
        lambda: connected.fill("[id='record.age']", "61"),
        lambda: connected.set_input_files("#pathology-files", files),
        lambda: connected.click("text=Remove"),
        drop,
    ]
    connected.fill("#report-text", "Nuclear atypia is high.")
    for change in changes:
        connected.click("button.main")
        connected.wait_for_selector("#result .verdict")
        change()
        assert connected.inner_text("#result") == ""
        assert connected.inner_text("#status") == "The form has changed since; ask again."


def test_an_answer_to_a_form_that_has_changed_meanwhile_is_not_shown(connected: Any):
    held: list[Any] = []
    connected.route("**/predictions/**", lambda route: held.append(route))
    connected.fill("#report-text", "Nuclear atypia is high.")
    connected.click("button.main")
    while not held:
        connected.wait_for_timeout(20)
    connected.fill("#report-text", "Of another patient.")
    with connected.expect_response("**/predictions/**"):
        held[0].continue_()
    connected.wait_for_timeout(200)
    assert connected.inner_text("#result") == ""
    assert connected.is_enabled("button.main")


def press_until(page: Any, reached: str, most: int = 80) -> None:
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate(f"document.activeElement.matches({reached!r})"):
            return
    raise AssertionError(f"{reached} was not reached by {most} tabs")


def test_a_keyboard_is_enough(page: Any, site: Site):
    page.goto(site.address)
    press_until(page, "#token")
    page.keyboard.insert_text(site.token)
    page.keyboard.press("Enter")
    page.wait_for_selector("#examples button")
    press_until(page, "#examples button:last-of-type")
    page.keyboard.press("Space")
    press_until(page, "#record input")
    page.keyboard.press("Control+A")
    page.keyboard.type("58")
    press_until(page, "button.main")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("Enter")
    page.wait_for_selector("#result .verdict")
    press_until(page, "#result summary")
    page.keyboard.press("Enter")
    assert page.is_visible("text=Contract digest")


def test_a_phone_shows_all_of_it(connected: Any):
    connected.set_viewport_size(PHONE)
    connected.click("text=Everything")
    connected.click("button.main")
    connected.wait_for_selector("#result .verdict")
    assert connected.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert connected.evaluate("document.getElementById('answer').getBoundingClientRect().top") < PHONE["height"] / 2
    heights = connected.locator("#patient > .send button, #examples button").evaluate_all(
        "nodes => nodes.map((node) => node.getBoundingClientRect().height)"
    )
    assert min(heights) >= 24  # WCAG 2.2, 2.5.8


@pytest.mark.parametrize(("scheme", "size"), SCREENS)
def test_no_rule_of_axe_is_broken_before_an_answer_with_one_and_with_a_refusal(
    connected: Any, site: Site, scheme: str, size: dict[str, int]
):
    connected.emulate_media(color_scheme=scheme)
    connected.set_viewport_size(size)
    connected.click("text=Everything")
    assert violations(connected) == []
    connected.click("button.main")
    connected.wait_for_selector("#result .verdict")
    connected.click("#result summary")
    connected.click("#explain")
    connected.wait_for_selector("#explanation .pictures")
    assert violations(connected) == []
    connected.fill("[id='record.age']", "old")
    connected.click("button.main")
    connected.wait_for_selector(".problem")
    assert violations(connected) == []


def test_what_an_answer_goes_by_is_drawn_on_the_images_and_told_in_words(connected: Any):
    connected.click("text=Everything")
    connected.click("button.main")
    connected.click("#explain")
    connected.wait_for_selector("#explanation .pictures")
    drawn = connected.locator("#explanation .pictures svg[role=img]")
    assert drawn.count() == 4 and drawn.first.locator("rect").count() == 25
    words = r"Pathology, no\. \d: (.+ at row \d, column \d(; )?){3}"
    assert re.fullmatch(words, drawn.first.get_attribute("aria-label"))
    assert drawn.first.locator("image").get_attribute("href").startswith("data:image/png;base64,")
    parts = connected.inner_text("#explanation")
    assert "Record, part by part" in parts and "Age" in parts and "“" in parts  # a sentence of the report in its words
    assert connected.inner_text("#status").startswith("What it goes by: probability of ")
    assert connected.is_hidden("#explain")
