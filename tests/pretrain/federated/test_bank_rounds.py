"""Whole runs with a bank, and what is told of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import hydra
import numpy as np
import pytest
from omegaconf import DictConfig
from safetensors.numpy import load_file

from foundation.errors import UserError
from foundation.federation.ledger import verify
from foundation.federation.ledger.files import load
from foundation.federation.ledger.reconcile import Side, reconcile
from foundation.federation.ledger.spent import Spent, spent_by_run
from foundation.federation.report.page import write_report
from foundation.federation.server.checkpoints import Checkpoints
from foundation.federation.site import round as site_round
from foundation.federation.site.round import run_round
from foundation.federation.task import RoundArrays, RoundOptions
from foundation.federation.weights.module import to_weights
from foundation.federation.wire.digest import digest_of_weights
from pretrain.federated.__main__ import main
from pretrain.federated.bank.accounting import bank_note, bank_record
from pretrain.federated.bank.embeddings import fill
from pretrain.federated.bank.rows import for_site
from pretrain.federated.task import Pretraining
from pretrain.fit import build_module, fit_round
from tests.foundation.federation.report_runs import rounds as told_rounds
from tests.foundation.federation.report_runs import write_run
from tests.foundation.federation.secure_sites import (
    a_task,  # noqa: F401 - a fixture for every test here
)
from tests.pretrain.federated.bank_rounds import HOSPITALS, entries, history, rows, settings


def test_a_round_with_a_bank_is_the_ordinary_training_of_a_module_that_has_it(configure, tmp_path, monkeypatch):
    cfg = configure("~modality.radiology", "~modality.report", "bank=gaussian", command="federated")
    held = rows(6, names=("genomics", "pathology"), width=cfg.encoder.width)
    module = build_module(cfg, None, 0, 4)
    sent = {name: value.copy() for name, value in to_weights(module.state_dict()).items()}
    fill(module, held)
    plain = fit_round(cfg, ["riverside"], None, tmp_path / "plain", 2, 0, 4, module=module)

    def trained(folder: str, arrays: dict):
        options = RoundOptions(str(tmp_path / folder), 0, 2, 4)
        return run_round(Pretraining(cfg, "riverside"), options, RoundArrays(sent, extension=arrays))

    found, without = trained("a", held), trained("b", {})
    # A job's processes read their files: here one of them does, in this process.
    monkeypatch.setattr(site_round, "processes_of", lambda trainer: 1)
    monkeypatch.setattr(site_round, "launch", lambda module, folder, count, seconds: site_round._process(folder))
    launched = trained("c", held)
    for name, value in plain.weights.items():
        np.testing.assert_array_equal(found.weights[name], value)
        np.testing.assert_array_equal(launched.weights[name], value)
    assert any(not np.array_equal(found.weights[name], without.weights[name]) for name in plain.weights)


def composer(cohort: Path) -> Callable[..., DictConfig]:
    """As the fixture `configure`, for fixtures of the whole module."""

    def compose(*overrides: str, command: str) -> DictConfig:
        common = ["experiment=demo", "data.batch_size=8", "progress=false", f"data.folder={cohort}"]
        with hydra.initialize_config_module("configs", version_base="1.3"):
            return hydra.compose(command, [*common, *overrides])

    return compose


def composed(configure, output: Path, *overrides: str) -> DictConfig:
    more = ["federation=serial", "rounds=3", "steps_per_round=1", "bank=gaussian", "bank.least=2", "loggers=[]"]
    more += ["~modality.radiology", "~modality.report", f"output={output}"]
    return configure(*more, *overrides, command="federated")


@pytest.fixture(scope="module")
def finished(small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four hospitals of which one lets no embedding leave."""
    output = tmp_path_factory.mktemp("bank") / "run"
    home = output / "sites" / "northgate"
    home.mkdir(parents=True)
    (home / "site.yaml").write_text("name: northgate\npolicy: policy.yaml\n")
    (home / "policy.yaml").write_text("shared_embeddings: false\n")
    main.__wrapped__(composed(composer(small_cohort), output))
    return output


def test_those_give_who_train_and_may_and_everybody_is_evaluated(finished):
    lines = history(finished)
    for line in lines:
        assert set(line["evaluation"]) - {"summit"} == set(HOSPITALS) - {"summit"}
        assert set(line["training"]) == {"riverside", "northgate", "lakeview"} and line["absent"] == {}
    assert ["summit" in line["evaluation"] for line in lines] == [False, False, True]
    reason = "policy: shared_embeddings: embeddings of patients do not leave this site"
    for line in lines[:2]:
        assert set(line["bank"]["rows"]) == {"riverside", "lakeview"}
        assert set(line["bank"]["rows"]["riverside"]) == {"pathology", "genomics"}
        assert set(line["bank"]["rows"]["lakeview"]) == {"genomics"}, "it has no images"
        assert line["bank"]["none"] == {"northgate": reason}
    assert (lines[2]["bank"]["rows"], lines[2]["bank"]["none"]) == ({}, {})


def test_rows_reach_the_other_sites_and_not_their_own_giver(finished):
    held = {}
    for key, values in load_file(finished / "rounds" / "bank_0002.safetensors").items():
        held.setdefault(key.partition("/")[0], {})[key.partition("/")[2]] = values
    assert held.keys() == {"riverside", "lakeview"}
    for site in ("riverside", "northgate", "lakeview"):
        ins = [entry for entry in entries(finished / "sites" / site / "ledger.jsonl", "in") if entry.round == 3]
        assert [entry.digest for entry in ins] == [digest_of_weights(for_site(held, site))]
    assert entries(finished / "sites" / "summit" / "ledger.jsonl", "in") == []


def test_ledgers_are_whole_and_agree_and_count_the_bank(finished):
    books = {site: finished / "sites" / site / "ledger.jsonl" for site in HOSPITALS}
    assert [problem for path in (finished / "ledger.jsonl", *books.values()) for problem in verify(path)] == []
    assert reconcile([Side.read(path) for path in (finished / "ledger.jsonl", *books.values())]) == []
    name = Checkpoints(finished, "").run
    spent = {site: spent_by_run(load(path).entries).get(name, Spent()).epsilon for site, path in books.items()}
    twice = settings().spent(2).epsilon
    assert spent == {"riverside": twice, "northgate": 0, "lakeview": twice, "summit": 0}
    assert len(entries(books["riverside"], "out")) == 2 == len(entries(books["northgate"], "out", "decline"))
    sizes = [entry.size for entry in entries(books["lakeview"], "out")]
    assert sizes == [4 * 64 * line["bank"]["rows"]["lakeview"]["genomics"] for line in history(finished)[:2]]


def test_run_record_and_page_tell_of_it(finished):
    note = json.loads((finished / "run.json").read_text())["notes"]["bank"]
    lines = history(finished)
    given = sum(line["bank"]["rows"].get("lakeview", {}).get("genomics", 0) for line in lines)
    assert note["rows"]["lakeview"] == {"genomics": given} and set(note["none"]) == {"northgate"}
    assert note["epsilon"] == settings().spent(2).epsilon and note["with_updates"] is None
    assert "nothing covers what updates tell" in note["assumptions"][-1]
    page = (finished / "report.html").read_text()
    assert "Shared bank of embeddings" in page and "shared_embeddings: embeddings of patients do not leave" in page
    assert "all values of one patient" in page


def test_a_run_that_is_resumed_ends_with_equal_weights(finished, small_cohort, tmp_path):
    output = tmp_path / "run"
    shutil.copytree(finished, output)
    last = output / "rounds" / "round_0003.safetensors"
    whole = load_file(last)
    last.unlink()
    content = json.loads((output / "history.json").read_text())
    (output / "history.json").write_text(json.dumps({**content, "rounds": content["rounds"][:2]}))
    main.__wrapped__(composed(composer(small_cohort), output, "resume=true"))
    again = load_file(last)
    assert again.keys() == whole.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(again[name], value)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["~objective.alignment"], "bank: no objective of this run compares modalities; leave bank=null"),
        (["strategy=fedbn"], "bank: encoder.*stays at the site, so its embeddings cannot be protected"),
        (["bank.modalities=[radiology]"], "bank.modalities: 'radiology' is not configured; choose from pathology, gen"),
        (["bank.epsilon=0"], "bank.epsilon: Input should be greater than 0"),
    ],
)
def test_a_run_that_has_no_use_for_its_bank_does_not_begin(configure, tmp_path, overrides, said):
    with pytest.raises(UserError, match=said):
        main.__wrapped__(composed(configure, tmp_path / "run", *overrides))
    assert not (tmp_path / "run" / "rounds").exists()


def test_the_record_adds_what_updates_spend_where_anything_counts_it():
    alone = bank_record(settings(), 3, None)
    assert alone["epsilon"] == settings().spent(3).epsilon and alone["with_updates"] is None
    both = bank_record(settings(), 3, {"epsilon_if_replaced": 2.5, "epsilon": 1.0, "delta": 1e-6})
    assert both["with_updates"]["epsilon"] == alone["epsilon"] + 2.5
    assert both["with_updates"]["delta"] == pytest.approx(1.1e-5)
    assert len(alone["assumptions"]) == len(both["assumptions"]) + 1
    assert bank_note([{"round": 1}]) is None


def test_the_page_tells_epsilon_of_updates_and_bank_together(tmp_path):
    lines = told_rounds(2)
    record = bank_record(settings(), 1, {"epsilon_if_replaced": 2.5, "delta": 1e-6})
    lines[0]["bank"] = {"rows": {"riverside": {"genomics": 17}}, "none": {"northgate": "policy: <no>"}, **record}
    lines[1]["bank"] = {"rows": {}, "none": {}, **record}
    page = write_report(write_run(tmp_path / "run", lines)).read_text()
    assert "<dt>Epsilon</dt><dd>10.5<small>delta 1.1e-05, with the bank</small></dd>" in page
    assert "policy: &lt;no&gt;" in page and "<td>17</td>" in page
    assert "Shared bank of embeddings" not in write_report(write_run(tmp_path / "other")).read_text()
