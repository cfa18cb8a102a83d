"""The shared bank in the rounds: who gives, who gets, what ledgers, history and page say of it, and how it fails."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import hydra
import numpy as np
import pytest
from flwr.app import RecordDict
from flwr.common.secure_aggregation.secaggplus_constants import Stage
from omegaconf import DictConfig
from safetensors.numpy import load_file

from foundation.command import instantiate
from foundation.errors import UserError
from foundation.federation.ledger import verify
from foundation.federation.ledger.files import load
from foundation.federation.ledger.reconcile import Side, reconcile
from foundation.federation.ledger.spent import Spent, spent_by_run
from foundation.federation.policy import SitePolicy
from foundation.federation.report.page import write_report
from foundation.federation.server.checkpoints import Checkpoints
from foundation.federation.server.exchange import send_and_collect
from foundation.federation.site import round as site_round
from foundation.federation.site.config import Site
from foundation.federation.site.extension import with_extension
from foundation.federation.site.gate import PolicyGate
from foundation.federation.site.round import run_round
from foundation.federation.task import RoundArrays, RoundOptions
from foundation.federation.weights.module import to_weights
from foundation.federation.wire.digest import digest_of_weights
from foundation.federation.wire.messages import (
    REFUSAL,
    Order,
    Reply,
    extension_records,
    pack_order,
    pack_reply,
    unpack_order,
    unpack_reply,
)
from foundation.federation.wire.tensors import PackedTensors
from foundation.release import installed_release
from pretrain.federated.__main__ import main
from pretrain.federated.bank import embeddings
from pretrain.federated.bank.accounting import bank_note, bank_record
from pretrain.federated.bank.embeddings import fill
from pretrain.federated.bank.rows import for_site
from pretrain.federated.bank.settings import BankSettings
from pretrain.federated.task import Pretraining
from pretrain.fit import build_module, fit_round
from tests.foundation.federation.report_runs import rounds as told_rounds
from tests.foundation.federation.report_runs import write_run
from tests.foundation.federation.secure_sites import (
    AFTER,
    NODES,
    SAMPLES,
    a_task,  # noqa: F401 - a fixture for every test here
    equals_the_plain_mean,
    grid_of,
    round_of,
)
from tests.foundation.federation.stub_sites import METRICS, SITES, PatchyGrid, Stubs, begin, config, run

WIDTH = 4
HOSPITALS = ["riverside", "northgate", "lakeview", "summit"]


def settings(**changes) -> BankSettings:
    return BankSettings.read(**{"modalities": ("pathology", "genomics"), "epsilon": 8.0, "least": 2} | changes)


def rows(count: int = 3, seed: int = 0, names: tuple[str, ...] = ("pathology", "genomics"), width: int = WIDTH) -> dict:
    rng = np.random.default_rng(seed)
    drawn = {name: rng.normal(size=(count, width)) for name in names}
    return {n: (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32) for n, v in drawn.items()}


# What travels.


def test_a_bank_arrives_as_it_was_sent_and_costs_nothing_where_there_is_none():
    sent = rows()
    order = pack_order(Order(DictConfig({}), {"a": np.ones(2, np.float32)}, "r", "0.1", 2, 0, extension=sent))
    reply = pack_reply(Reply("alpha", extension=sent))
    for found in (unpack_order(order).extension, unpack_reply(reply).extension):
        assert digest_of_weights(found) == digest_of_weights(sent)
    assert "extension" not in pack_reply(Reply("alpha")) and "extension" not in pack_order(
        Order(DictConfig({}), {}, "r", "0.1", 2, 0)
    )
    assert unpack_reply(pack_reply(Reply("alpha"))).extension == {} == extension_records({})


class Watched(PatchyGrid):
    """Keeps what was sent."""

    def push_messages(self, messages):
        self.sent = list(messages)
        return super().push_messages(self.sent)


def test_orders_differ_by_site_and_share_the_packed_weights():
    grid = Watched(Stubs({}).app)
    order = pack_order(Order(config(Path("x")), {"a": np.ones(2, np.float32)}, "r", "0.1", 1, 0))
    nodes = {site: number + 1 for number, site in enumerate(SITES[:3])}
    extra = {"alpha": extension_records(rows(2)), "beta": extension_records(rows(3))}
    assert send_and_collect(grid, "train", order, nodes, None, lambda site, message: None, extra) == {}
    contents = [message.content for message in grid.sent]
    assert [len(unpack_order(content).extension.get("genomics", ())) for content in contents] == [2, 3, 0]
    assert contents[0]["arrays"] is contents[1]["arrays"] is contents[2]["arrays"] is order["arrays"]
    assert "extension" not in order


# The server, with sites that answer at once.


BANK = {"modalities": ["pathology", "genomics"], "epsilon": 8.0, "least": 2, "limit": 8}


def banked(folder: Path, **more) -> DictConfig:
    return config(folder, **{"rounds": 3, "bank": BANK, "encoder": {"width": WIDTH}, **more})


def gives(of: Callable[[Order], dict], facts: dict | None = None) -> Callable[[Order], RecordDict]:
    """A site that gives these rows for the bank."""
    return lambda order: pack_reply(Reply("", metrics=METRICS, facts=facts or {}, extension=of(order)))


def each(order: Order) -> dict:
    """By round, so that a later bank is another one; none in the last."""
    return rows(3, order.round) if order.round < order.cfg.rounds else {}


def genes(order: Order) -> dict:
    return {name: values for name, values in each(order).items() if name == "genomics"}


def history(folder: Path) -> list[dict]:
    return json.loads((folder / "history.json").read_text())["rounds"]


def entries(path: Path, way: str, kind: str = "embeddings", peer: str = "") -> list:
    found = [entry for entry in load(path).entries if (entry.kind, entry.direction) == (kind, way)]
    return [entry for entry in found if not peer or entry.peer == peer]


def test_each_site_gets_the_others_rows_of_the_round_before(tmp_path):
    stubs = Stubs({}, {"alpha": gives(each), "beta": gives(genes)})
    run(banked(tmp_path), PatchyGrid(stubs.app), begin(tmp_path))
    for number in (2, 3):
        sent = {"alpha": rows(3, number - 1), "beta": {"genomics": rows(3, number - 1)["genomics"]}}
        for site in SITES:
            assert digest_of_weights(stubs.extensions[site, number]) == digest_of_weights(for_site(sent, site))
    assert all(stubs.extensions[site, 1] == {} for site in SITES)
    assert set(stubs.extensions["alpha", 2]) == {"genomics"} and set(stubs.extensions["gamma", 2]) == {
        "pathology",
        "genomics",
    }
    lines = history(tmp_path)
    assert lines[0]["bank"]["rows"] == {"alpha": {"pathology": 3, "genomics": 3}, "beta": {"genomics": 3}}
    assert lines[0]["bank"]["none"] == dict.fromkeys(("gamma", "delta"), "sent none, and no reason")
    assert (lines[2]["bank"]["rows"], lines[2]["bank"]["none"]) == ({}, {}), "nobody is asked where no round follows"
    to_site = [lines[1]["training"][site]["bytes"]["to_site"] for site in SITES]
    assert to_site == [44 + 48, 44 + 96, 44 + 144, 44 + 144]
    assert [line["bank"]["releases"] for line in lines] == [1, 2, 2]
    assert lines[2]["bank"]["epsilon"] == settings().spent(2).epsilon


def test_a_run_that_was_cut_off_hands_on_the_bank_that_it_had(tmp_path):
    stubs = Stubs({}, {"alpha": gives(each)})
    grid = PatchyGrid(stubs.app)
    run(banked(tmp_path), grid, begin(tmp_path))
    whole = stubs.extensions["beta", 3]
    for name in ("round_0003", "bank_0001"):
        (tmp_path / "rounds" / f"{name}.safetensors").unlink(missing_ok=True)
    content = json.loads((tmp_path / "history.json").read_text())
    (tmp_path / "history.json").write_text(json.dumps({**content, "rounds": content["rounds"][:2]}))
    stubs.extensions.clear()
    run(banked(tmp_path), grid, Checkpoints(tmp_path, "digest"))
    assert list(stubs.extensions) == [(site, 3) for site in SITES]
    assert digest_of_weights(stubs.extensions["beta", 3]) == digest_of_weights(whole)
    assert sorted(path.name for path in (tmp_path / "rounds").glob("bank_*")) == ["bank_0002.safetensors"]
    (tmp_path / "history.json").write_text(json.dumps({**content, "rounds": content["rounds"][:2]}))
    (tmp_path / "rounds" / "bank_0002.safetensors").unlink()
    with pytest.raises(UserError, match=r"bank_0002\.safetensors: missing, though history\.json counts it"):
        run(banked(tmp_path), grid, Checkpoints(tmp_path, "digest"))


def test_rows_of_an_earlier_attempt_at_a_round_are_not_those_of_the_next(tmp_path):
    checkpoints = begin(tmp_path)
    checkpoints.save(1, {}, {}, ("bank", {"alpha": rows()}))
    assert digest_of_weights(checkpoints.extension("bank")["alpha"]) == digest_of_weights(rows())
    again = Checkpoints(tmp_path, "digest")
    again.save(1, {}, {}, ("bank", {}))
    assert again.extension("bank") == {}


ROTTEN = {
    "NaN": (lambda _: {"genomics": np.full((3, WIDTH), np.nan, np.float32)}, "holds rows that are not of unit length"),
    "another width": (lambda _: rows(3, width=5), r"float32 of shape \(3, 5\); rows of 4 numbers were asked for"),
    "no rows": (lambda _: {"genomics": np.ones((), np.float32)}, r"float32 of shape \(\); rows of 4 numbers"),
    "too many": (lambda _: rows(9), "9 rows; 2 to 8 were asked for"),
    "a modality that was not asked for": (lambda _: rows(3, names=("report\n",)), "bank.report.?: was not asked for"),
}


@pytest.mark.parametrize("fault", ROTTEN)
def test_a_rotten_bank_is_refused_with_its_reason_and_the_evaluation_counts(fault, tmp_path):
    of, said = ROTTEN[fault]
    stubs = Stubs({}, {"alpha": gives(of), "beta": gives(lambda _: rows())})
    run(banked(tmp_path, rounds=2), PatchyGrid(stubs.app), begin(tmp_path))
    first, second = history(tmp_path)
    assert set(first["bank"]["rows"]) == {"beta"} and set(first["evaluation"]) == set(SITES)
    assert re.match(f"refused: site alpha: .*{said}", first["bank"]["none"]["alpha"])
    assert second["absent"] == {} and set(second["training"]) == set(SITES)
    assert second["bank"]["none"]["beta"] == "refused: site beta: bank: was not asked for; leave this site out"
    assert digest_of_weights(stubs.extensions["gamma", 2]) == digest_of_weights(for_site({"beta": rows()}, "gamma"))
    assert stubs.extensions["beta", 2] == {}
    assert verify(tmp_path / "ledger.jsonl") == []
    assert len(entries(tmp_path / "ledger.jsonl", "in", peer="alpha")) == 2, "they came in all the same"
    assert len(entries(tmp_path / "ledger.jsonl", None, "refusal", "alpha")) == 2


def test_a_held_out_site_is_not_asked_and_a_run_without_a_bank_takes_none(tmp_path):
    held_out = {"test_hospitals": ["delta"], "batch_size": 8}
    stubs = Stubs({}, {"delta": gives(lambda _: rows()), "alpha": gives(lambda _: {}, {REFUSAL: "policy: no"})})
    run(banked(tmp_path / "a", rounds=2, data=held_out), PatchyGrid(stubs.app), begin(tmp_path / "a"))
    first, after_all = history(tmp_path / "a")
    assert after_all["bank"]["none"]["delta"] == "refused: site delta: bank: was not asked for; leave this site out"
    assert first["bank"]["none"]["alpha"] == "policy: no" and "delta" not in first["evaluation"]
    assert "delta" in after_all["evaluation"]
    assert [entry.note for entry in entries(tmp_path / "a" / "ledger.jsonl", "in", "decline")] == ["policy: no"] * 2
    run(config(tmp_path / "b", rounds=2), PatchyGrid(stubs.app), begin(tmp_path / "b"))
    assert "bank" not in history(tmp_path / "b")[0]
    assert all(bank == {} for bank in stubs.extensions.values())
    assert len(entries(tmp_path / "b" / "ledger.jsonl", None, "refusal", "delta")) == 2


def test_one_site_after_another_gets_what_the_round_before_gave(tmp_path):
    stubs = Stubs({}, {"alpha": gives(each), "beta": gives(each)})
    more = {"strategy": {"_target_": "foundation.federation.strategies.averaging.Cyclic"}, "rounds": 2}
    run(banked(tmp_path, **more), PatchyGrid(stubs.app), begin(tmp_path))
    counts = {site: len(stubs.extensions[site, 2]["genomics"]) for site in SITES}
    assert counts == {"alpha": 3, "beta": 3, "gamma": 6, "delta": 6}


def test_masked_rounds_hand_on_rows_as_well():
    extra = {"riverside": extension_records(rows(2)), "summit": extension_records(rows(3))}
    grid = grid_of()
    found = round_of(grid, extra=extra)
    got = {
        site: len(PackedTensors(content["extension"])["genomics"]) if "extension" in content else 0
        for site, node in NODES.items()
        for stage, to, content in grid.sent
        if (stage, to) == (Stage.COLLECT_MASKED_VECTORS, node)
    }
    assert got == {"riverside": 2, "northgate": 0, "lakeview": 0, "summit": 3}
    equals_the_plain_mean(found, AFTER, SAMPLES, 4)


# A site: its policy decides, its ledger counts.


@pytest.fixture
def gate(configure, tmp_path) -> Callable[..., PolicyGate]:
    """A gate that has let in an order to evaluate."""

    def made(*overrides: str, site: str = "riverside", **rules) -> PolicyGate:
        cfg = configure("bank=gaussian", f"output={tmp_path}", *overrides, command="federated")
        cfg.sites = HOSPITALS
        order = Order(cfg, {}, "run-1", installed_release(), 1, 0)
        order.settings = {"privacy_clip": 1.0, "privacy_sites": 3.0}
        policy = SitePolicy.model_validate({"shared_embeddings": True} | rules)
        here = Site(site, None, policy, tmp_path / f"{site}.jsonl", tmp_path, {})
        found = PolicyGate(here, unpack_order(pack_order(order)), "evaluate")
        found.admit()
        return found

    return made


LOCAL = ["privacy=local", "privacy.noise_multiplier=4.0"]


def test_updates_and_embeddings_are_added_for_the_same_neighbours(gate):
    at = gate(*LOCAL)
    for kind in ("update", "update", "embeddings"):
        at.ledger.append(kind, "out", run="run-1")
    updates, bank = instantiate(at.order.cfg.privacy), settings()
    assert at.spent(embeddings=1) == updates.spent(2, replaced=True) + bank.spent(2)
    assert at.spent(updates=1) == updates.spent(3, replaced=True) + bank.spent(1)
    at.admit_extension()
    reply = with_extension(at, Reply("riverside"), rows())
    entry = at.ledger.entries()[-1]
    assert (entry.epsilon, entry.delta) == (at.spent().epsilon, at.spent().delta) and entry.delta == 2e-5
    assert entry.digest == digest_of_weights(rows()) and entry.samples == {"genomics": 3, "pathology": 3}
    assert entry.policy == at.site.policy.digest and reply.facts["head"] == entry.hash
    assert reply.extension.keys() == {"pathology", "genomics"}


def test_without_noise_on_updates_the_ledger_counts_the_bank_alone_and_says_so(gate):
    at = gate()
    at.admit_extension()
    for releases in (1, 2):
        with_extension(at, Reply("riverside"), rows())
        assert spent_by_run(at.ledger.entries())["run-1"].epsilon == pytest.approx(settings().spent(releases).epsilon)
    assert at.ledger.entries()[-1].note == "epsilon is that of the bank alone: nothing counts what updates tell"
    assert at.spent(updates=1) is None


@pytest.mark.parametrize(
    ("overrides", "rules", "said"),
    [
        ([], {"shared_embeddings": False}, "shared_embeddings: embeddings of patients do not leave this site"),
        ([], {"budget": {"epsilon": 100, "delta": 1e-3}}, "budget: .* the run cannot say what it spends"),
        (LOCAL, {"budget": {"epsilon": 7.9, "delta": 1e-3}}, r"budget.epsilon: 8 would be spent over all runs"),
        (LOCAL, {"budget": {"epsilon": 100, "delta": 1e-6}}, r"budget.delta: 1e-05 would be spent"),
        (
            [],
            {"privacy": {"embeddings": {"min_noise_multiplier": 0.7}}},
            "embeddings.min_noise_multiplier: 0.6[0-9]* offered",
        ),
        ([], {"patients": {"training": 999}}, "patients.training: fewer than 999"),
        (["rounds=1"], {"limits": {"rounds": 1}}, "limits.rounds: 1 releases of embeddings have left"),
        (["bank.epsilon=null", "bank.noise=1e-4"], {}, "bank.noise: protects so little that no epsilon can be told"),
    ],
)
def test_what_a_policy_forbids_does_not_leave(gate, overrides, rules, said):
    at = gate(*overrides, **rules)
    if "limits" in rules:
        at.ledger.append("embeddings", "out", run="run-1")
    before = len(at.ledger.entries())
    reply = Reply("riverside")
    with pytest.raises(UserError, match=said):
        at.admit_extension()
        with_extension(at, reply, rows())
    assert (reply.extension, len(at.ledger.entries())) == ({}, before)


def test_a_site_gives_no_fewer_rows_than_its_policy_tells_counts_of(gate, monkeypatch):
    least = []
    monkeypatch.setattr(embeddings, "release", lambda cfg, site, weights, settings, *_: least.append(settings.least))
    for at in (gate(patients={"cell": 25}), gate(patients={"cell": 2}, site="lakeview")):
        with pytest.raises(UserError, match=r"bank\.least: fewer than"):
            at.extension.after_evaluation({}, at.admit_extension())
    assert least == [25, 10]


# A site's round.


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


# A whole run.


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


# What is told of it.


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
