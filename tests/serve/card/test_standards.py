"""What reporting standards ask for has one of three states, and none of them is invented."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from serve.card.build import Inputs, build
from serve.card.content.sample_size import standard_error
from serve.card.content.standards import NEVER, OPEN, REPORTED, STANDARDS, read
from serve.card.judgement import questions
from serve.card.judgement import read as answers

# Items that each standard has, by its own text.
ITEMS = {"tripod_ai": 52, "mi_claim": 19, "hti_1": 31, "ai_act": 23}
ROOT = Path(__file__).resolve().parents[3]
ANSWERED = "\n".join(f"{field}: Said." for field in questions())


def rows(readme: str, name: str) -> dict[str, tuple[str, str]]:
    """By item, its state, and where or why."""
    part = readme[readme.index(f"\n{name}: ") :].split("\n\n")[1]
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in part.splitlines()[2:]]
    return {item: (state, where) for item, _, state, where in cells}


@pytest.mark.parametrize("key", STANDARDS)
def test_a_standard_has_all_its_items_once_and_asks_for_what_there_is(key: str):
    items = read(key)["items"]
    assert len(items) == len({item["item"] for item in items}) == ITEMS[key]
    for item in items:
        assert {"item", "asks"} < item.keys() and item.keys() <= {"item", "asks", "records", "person", "never"}
        assert set(item.get("person", [])) <= questions().keys()
        assert not re.search(r"\d", item["asks"] + item.get("never", ""))


def test_items_are_reported_open_or_not_applicable(plain_chain: Path, tmp_path: Path):
    readme = build(Inputs((plain_chain / "evaluation",), "demo", "mit"), tmp_path / "card").documents["README.md"]
    tripod = rows(readme, "TRIPOD+AI")
    assert tripod["23a"] == (REPORTED, "Results")
    assert tripod["18a"] == (OPEN, "question open: funding")
    assert tripod["12f"] == (NEVER, "the card tells of one version")
    counts = Counter(state for state, _ in tripod.values())
    assert (
        f"TRIPOD+AI: {counts[REPORTED]} reported, {counts[OPEN]} needs a person, {counts[NEVER]} not applicable"
        in readme
    )
    assert counts[REPORTED] + counts[OPEN] + counts[NEVER] == 52
    by_records = {item["item"] for item in read("tripod_ai")["items"] if not item.get("person")}
    alone = {item for item, (state, _) in tripod.items() if state == REPORTED and item in by_records}
    assert f"; records of runs alone answer {len(alone)}. Of its 27 numbers, " in readme
    assert rows(readme, "EU AI Act, Annex IV")["1d"] == (OPEN, "no record tells it")


def test_answers_of_people_close_what_was_open(plain_chain: Path, tmp_path: Path):
    (tmp_path / "card.yaml").write_text(ANSWERED.replace("funding: Said.", "funding: {not_applicable: nobody paid}"))
    inputs = Inputs((plain_chain / "evaluation",), "demo", "mit", plain_chain / "export", tmp_path / "card.yaml")
    readme = build(inputs, tmp_path / "card").documents["README.md"]
    tripod = rows(readme, "TRIPOD+AI")
    assert tripod["18a"] == (NEVER, "nobody paid")
    assert tripod["8a"] == (REPORTED, "Results, Use, limits and responsibility")
    # The bundle holds the head that was evaluated, so nothing was updated in between.
    assert tripod["12f"] == (REPORTED, "Bundle")
    alone = [item["item"] for item in read("tripod_ai")["items"] if not item.get("person") and item["item"] != "24"]
    assert all(tripod[item][0] == REPORTED for item in alone) and len(alone) >= 30
    assert f"; records of runs alone answer {len(alone)}. Of its 27 numbers, 26 have an answer to every part" in readme
    assert [item for item, (state, _) in tripod.items() if state == OPEN] == []
    assert "OPEN" not in readme


def test_the_glioma_judgement_says_what_is_known_and_leaves_the_rest_open():
    known = {field for field, said in answers(ROOT / "scripts/bench/glioma_judgement.yaml").items() if said is not None}
    assert questions().keys() - known == {
        *("ethics", "consent", "treatments", "registration", "funding", "conflicts", "involvement"),
        *("availability", "maintenance", "monitoring", "contact", "developer"),
    }


def test_what_a_cohorts_declaration_and_a_task_model_say_stands_in_the_card(plain_chain: Path, tmp_path: Path):
    readme = build(Inputs((plain_chain / "evaluation",), "demo", "mit"), tmp_path / "card").documents["README.md"]
    assert "By whoever declared the cohort: Made for tests, 3 hospitals." in readme
    assert "| label column | biomarker |" in readme
    tripod = rows(readme, "TRIPOD+AI")
    assert tripod["4"] == (REPORTED, "Where every number comes from, Results")
    # The horizon stands in the records; how and by whom the outcome was determined does not.
    assert tripod["8a"] == (OPEN, "question open: outcomes")
    assert tripod["5b"] == (OPEN, "question open: data dates")


def test_how_many_patients_and_how_exact_is_told_with_its_rule(plain_chain: Path, tmp_path: Path):
    card = build(Inputs((plain_chain / "evaluation",), "demo", "mit"), tmp_path / "card")
    readme, nodes = card.documents["README.md"], card.content["nodes"]
    assert "| in training, events | 39 |" in readme and "| in the test, events | 21 |" in readme
    assert nodes["result/0/sample_size/width"]["value"] == pytest.approx(0.9287 - 0.7931)
    needed = nodes["result/0/sample_size/needed"]
    assert "Riley et al. 2021" in needed["rule"]
    error = [standard_error(0.8642, 21 / 57, needed["value"] - less) for less in (0, 1)]
    assert 2 * 1.96 * error[0] <= 0.1 < 2 * 1.96 * error[1]


def test_the_standard_error_of_an_auc_is_that_of_a_simulation():
    rng, auc = np.random.default_rng(0), []
    shift = np.sqrt(2) * 0.8416212335729143  # of two normals whose AUC is 0.8
    for _ in range(2000):
        event = rng.random(300) < 0.3
        score = rng.normal(size=300) + shift * event
        ranks = score.argsort().argsort() + 1.0
        count = event.sum()
        auc.append((ranks[event].sum() - count * (count + 1) / 2) / (count * (300 - count)))
    assert np.mean(auc) == pytest.approx(0.8, abs=0.003)
    assert standard_error(0.8, 0.3, 300) == pytest.approx(np.std(auc), rel=0.06)
