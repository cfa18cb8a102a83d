"""A site's policy: read or refused, held against orders and answers, and small numbers kept at home."""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from foundation.errors import UserError
from foundation.federation.ledger.entry import Entry
from foundation.federation.ledger.spent import Spent
from foundation.federation.policy import (
    Declined,
    Noise,
    OrderFacts,
    PrivacyFacts,
    ReplyFacts,
    SitePolicy,
    check_order,
    check_reply,
    order_facts,
    public_reason,
    suppress,
    withhold,
)
from foundation.federation.policy.contract import TEMPLATE
from foundation.federation.policy.order import shipped_targets

ORDER = OrderFacts(
    run="r1",
    task="pretrain",
    release="0.1.0",
    config_digest="c" * 64,
    commit="abc",
    objectives=("alignment",),
    modalities=("pathology", "genomics"),
    strategy="FedProx",
    privacy=PrivacyFacts(secure_aggregation=True, site_dp=Noise(1.0, 0.5)),
    rounds=8,
    round=2,
    steps=16,
    seconds=600.0,
    targets=("foundation.objectives.alignment.Alignment",),
)
REPLY = ReplyFacts("update", patients=50, groups=("pathology", "fusion", "objective:alignment"), privacy=ORDER.privacy)


def policy(**rules: object) -> SitePolicy:
    return SitePolicy.model_validate(rules)


def sent(epsilon: float | None, run: str = "r1", kind: str = "update", delta: float = 1e-6) -> Entry:
    facts = {"direction": "out", "run": run, "epsilon": epsilon, "delta": None if epsilon is None else delta}
    return Entry.model_validate({"index": 0, "previous": "", "time": "", "kind": kind, **facts})


def order(rules: SitePolicy, facts: OrderFacts = ORDER, **more: object) -> None:
    check_order(rules, facts, installed="0.1.0", **more)  # type: ignore[arg-type]


def test_without_rules_anything_passes_but_embeddings():
    order(SitePolicy())
    check_reply(SitePolicy(), ORDER, REPLY)
    with pytest.raises(Declined, match="shared_embeddings"):
        order(SitePolicy(), replace(ORDER, embeddings=True))
    with pytest.raises(Declined, match="shared_embeddings"):
        check_reply(SitePolicy(), ORDER, replace(REPLY, kind="embeddings"))
    order(policy(shared_embeddings=True), replace(ORDER, embeddings=True))


def test_another_release_is_declined_whatever_the_policy_says():
    with pytest.raises(Declined, match=r"release: the run is of 0\.1\.0, this site runs 0\.2\.0"):
        check_order(SitePolicy(), ORDER, installed="0.2.0")
    check_order(SitePolicy(), replace(ORDER, release=version("consilium")))


@pytest.mark.parametrize(
    ("rules", "line"),
    [
        ({"tasks": ["evaluate"]}, "policy: tasks: 'pretrain' is not allowed here; allowed: evaluate"),
        ({"objectives": []}, "policy: objectives: 'alignment' is not allowed here; allowed: none"),
        ({"modalities": "pathology"}, "policy: modalities: 'genomics' is not allowed here; allowed: pathology"),
        ({"strategies": ["fed_avg"]}, "policy: strategies: 'fedprox' is not allowed here; allowed: fedavg"),
        ({"releases": ["0.2.*"]}, "policy: releases: '0.1.0' is not allowed here; allowed: 0.2.*"),
        ({"commits": ["def"]}, "policy: commits: 'abc' is not allowed here; allowed: def"),
        ({"config_digest": ["d"]}, f"policy: config_digest: '{'c' * 64}' is not allowed here; allowed: d"),
        ({"limits": {"rounds": 7}}, "policy: limits.rounds: 8 asked, at most 7 allowed"),
        ({"limits": {"steps": 15}}, "policy: limits.steps: 16 asked, at most 15 allowed"),
        ({"limits": {"seconds": 599.5}}, "policy: limits.seconds: 600 asked, at most 599.5 allowed"),
        ({"privacy": {"example_dp": {"min_noise_multiplier": 1}}}, "policy: privacy.example_dp: required here,"),
        (
            {"privacy": {"site_dp": {"min_noise_multiplier": 1.1}}},
            "policy: privacy.site_dp.min_noise_multiplier: 1 offered, at least 1.1 required",
        ),
        (
            {"privacy": {"site_dp": {"min_noise_multiplier": 1, "max_clip": 0.4}}},
            "policy: privacy.site_dp.max_clip: 0.5 offered, at most 0.4 allowed",
        ),
        ({"budget": {"epsilon": 5, "delta": 1e-5}}, "policy: budget: this site counts differential privacy"),
    ],
)
def test_each_rule_declines_with_its_name_and_what_is_allowed(rules, line):
    with pytest.raises(Declined) as declined:
        order(policy(**rules))
    assert str(declined.value).startswith(line)


def test_an_order_within_all_rules_passes():
    rules = policy(
        tasks="pretrain",
        objectives=["alignment", "masked_genes"],
        modalities=["pathology", "genomics"],
        strategies=["fedprox"],
        releases=["0.1.*"],
        commits=["abc"],
        config_digest=["c" * 64],
        privacy={"secure_aggregation": True, "site_dp": {"min_noise_multiplier": 1.0, "max_clip": 0.5}},
        budget={"epsilon": 5, "delta": 1e-5},
        patients={"training": 40, "metrics": 20, "cell": 5},
        limits={"rounds": 8, "steps": 16, "seconds": 600},
        statistics=[],
    )
    order(rules, entries=[sent(1.0)], patients=40, spent_after=Spent(2.0, 1e-6))
    check_reply(rules, ORDER, replace(REPLY, spent=Spent(2.0, 1e-6)), [sent(1.0)])


def test_masking_is_required_where_the_policy_says_so():
    rules = policy(privacy={"secure_aggregation": True})
    with pytest.raises(Declined, match=r"privacy\.secure_aggregation"):
        order(rules, replace(ORDER, privacy=PrivacyFacts()))
    with pytest.raises(Declined, match=r"privacy\.secure_aggregation"):
        check_reply(rules, ORDER, replace(REPLY, privacy=PrivacyFacts()))
    order(rules, replace(ORDER, task="evaluate", privacy=PrivacyFacts()))


def test_noise_that_is_no_number_is_too_little():
    rules = policy(privacy={"site_dp": {"min_noise_multiplier": 0.1}})
    with pytest.raises(Declined, match="nan offered"):
        order(rules, replace(ORDER, privacy=PrivacyFacts(site_dp=Noise(float("nan"), 1.0))))


def test_too_few_patients_are_not_trained_on_and_their_number_is_not_told():
    rules = policy(patients={"training": 30})
    order(rules, patients=30)
    for few in (0, 7, 29):
        with pytest.raises(Declined, match="fewer than 30 to train on") as declined:
            order(rules, patients=few)
        assert str(few) not in str(declined.value).replace("30", "")
        with pytest.raises(Declined, match="fewer than 30 patients stand behind"):
            check_reply(rules, ORDER, replace(REPLY, patients=few))


@pytest.mark.parametrize(
    ("entries", "after", "passes"),
    [
        ([], 5.0, True),
        ([], 5.01, False),
        ([sent(3.0)], 5.0, True),  # the same run goes on
        ([sent(3.0, "r0")], 2.0, True),  # another run's share counts
        ([sent(3.0, "r0")], 2.1, False),
        ([sent(3.0), sent(3.0, kind="evaluation")], 4.0, True),
        ([sent(3.0)], 3.0, False),  # the same run, counted from the start again: 3 + 3
        ([sent(3.0)], 1.0, True),
        ([sent(3.0)], 2.1, False),
        ([], float("inf"), False),
    ],
)
def test_the_budget_holds_over_runs_and_over_repeated_ones(entries, after, passes):
    rules = policy(budget={"epsilon": 5, "delta": 0.5})
    spent = Spent(after, 1e-6)
    for check in (
        lambda: order(rules, entries=entries, spent_after=spent),
        lambda: check_reply(rules, ORDER, replace(REPLY, spent=spent), entries),
    ):
        if passes:
            check()
        else:
            with pytest.raises(Declined, match="budget"):
                check()


def test_deltas_add_up_too():
    rules = policy(budget={"epsilon": 100, "delta": 1.5e-5})
    order(rules, entries=[sent(1.0, "r0", delta=1e-5)], spent_after=Spent(1.0, 5e-6))
    with pytest.raises(Declined, match=r"budget\.delta: 2e-05 would be spent over all runs, 1\.5e-05 is the budget"):
        order(rules, entries=[sent(1.0, "r0", delta=1e-5)], spent_after=Spent(1.0, 1e-5))


def test_a_server_that_counts_rounds_from_the_start_again_gets_no_more_updates():
    rules = policy(limits={"rounds": 8})
    order(rules, replace(ORDER, round=1), entries=[sent(None)] * 7)
    with pytest.raises(Declined, match=r"limits\.rounds: 8 updates have left for this run already"):
        order(rules, replace(ORDER, round=1), entries=[sent(None)] * 8)
    order(rules, replace(ORDER, run="r2"), entries=[sent(None)] * 8)


def test_embeddings_are_held_to_rounds_modalities_patients_and_budget():
    asked = replace(ORDER, task="evaluate", embeddings=True)
    rules = policy(shared_embeddings=True, limits={"rounds": 8}, patients={"training": 20}, modalities=["genomics"])
    left = [sent(None)] * 8  # updates are counted by themselves
    told = ReplyFacts("embeddings", 20, groups=("genomics",))
    check_reply(rules, asked, told, [*left, *[sent(None, kind="embeddings")] * 7])
    with pytest.raises(Declined, match=r"limits\.rounds: 8 releases of embeddings have left for this run already"):
        check_reply(rules, asked, told, [sent(None, kind="embeddings")] * 8)
    with pytest.raises(Declined, match="modalities: 'pathology'"):
        check_reply(rules, asked, replace(told, groups=("pathology",)))
    with pytest.raises(Declined, match=r"patients\.training: fewer than 20 patients stand behind the answer"):
        check_reply(rules, asked, replace(told, patients=19))
    noisy = policy(shared_embeddings=True, privacy={"embeddings": {"min_noise_multiplier": 0.5}})
    enough, less = (PrivacyFacts(embeddings=Noise(multiplier, 1.0)) for multiplier in (0.5, 0.49))
    order(noisy, replace(asked, privacy=enough))
    check_reply(noisy, asked, replace(told, privacy=enough))
    with pytest.raises(Declined, match=r"privacy\.embeddings\.min_noise_multiplier: 0\.49 offered, at least 0\.5"):
        order(noisy, replace(asked, privacy=less))
    with pytest.raises(Declined, match=r"privacy\.embeddings\.min_noise_multiplier: 0\.49 offered, at least 0\.5"):
        check_reply(noisy, asked, replace(told, privacy=less))
    with pytest.raises(Declined, match=r"privacy\.embeddings: required here, and the run does without"):
        order(noisy, asked)
    counted = policy(shared_embeddings=True, budget={"epsilon": 5, "delta": 1e-5})
    check_reply(counted, asked, replace(told, spent=Spent(5.0, 1e-5)))
    for spent, said in ((Spent(5.1, 1e-5), r"budget\.epsilon: 5\.1"), (None, "the run cannot say what it spends")):
        with pytest.raises(Declined, match=said):
            check_reply(counted, asked, replace(told, spent=spent))


def test_only_allowed_modalities_and_statistics_leave():
    with pytest.raises(Declined, match="modalities: 'pathology'"):
        check_reply(policy(modalities=["genomics"]), ORDER, REPLY)
    told = ReplyFacts("statistics", patients=50, statistics=("counts", "expression"))
    check_reply(policy(statistics=["counts", "expression"]), ORDER, told)
    with pytest.raises(Declined, match="statistics: 'expression'"):
        check_reply(policy(statistics=["counts"]), ORDER, told)


# What a config asks to be built


def config(**more: object):
    return OmegaConf.create(
        {
            "seed": 0,
            "output": "runs/x",
            "rounds": 8,
            "steps_per_round": 16,
            "objective": {"alignment": {"_target_": "foundation.objectives.alignment.Alignment"}},
            "modality": {
                "record": {"_target_": "foundation.modalities.record.encoder.Record"},
                "report": {"_target_": "foundation.modalities.report.encoder.Report"},
            },
            "data": {"modalities": None},
            "strategy": {"_target_": "foundation.federation.strategies.averaging.FedAvg"},
            **more,
        }
    )


def facts(cfg) -> OrderFacts:
    return order_facts(cfg, OrderFacts(run="r", task="pretrain", release="0.1.0", round=3))


def test_the_facts_of_an_order_come_from_its_config():
    found = facts(config())
    assert (found.objectives, found.modalities, found.strategy) == (("alignment",), ("record", "report"), "FedAvg")
    assert (found.rounds, found.round, found.steps) == (8, 3, 16)
    assert found.unresolved == ()
    assert facts(config(data={"modalities": ["report"]})).modalities == ("report",)
    assert facts(config(output="runs/y")).config_digest == found.config_digest
    assert facts(config(seed=1)).config_digest != found.config_digest


@pytest.mark.parametrize(
    "target",
    ["os.system", "foundation.modalities.report.encoder.os.system", "subprocess.run", "hydra.utils.get_method"],
)
@pytest.mark.parametrize("place", ["trainer", "objective.alignment.reader", "callbacks.0"])
def test_a_config_that_builds_what_no_shipped_config_names_is_declined(target, place):
    cfg = config(callbacks=[{"_target_": "pytorch_lightning.Trainer"}])
    OmegaConf.update(cfg, f"{place}._target_", target, force_add=True)
    with pytest.raises(Declined, match=f"targets: the config builds {target}"):
        order(SitePolicy(), facts(cfg))
    order(policy(targets=[target]), facts(cfg))


def test_the_shipped_configs_are_let_through():
    assert {"pytorch_lightning.Trainer", "foundation.engine.deepspeed.DeepSpeed"} <= shipped_targets()
    order(SitePolicy(), facts(config()))


def test_a_setting_that_would_be_filled_in_at_the_site_is_declined(monkeypatch):
    monkeypatch.setenv("SECRET", "s3cret")
    cfg = config(data={"modalities": None, "folder": "${oc.env:SECRET}"})
    with pytest.raises(Declined, match=r"config: data\.folder holds") as declined:
        order(SitePolicy(), facts(cfg))
    assert "s3cret" not in str(declined.value)


# Small numbers


METRICS = {
    "patients": 30.0,
    "seconds": 2.5,
    "loss": 0.5,
    "train/loss": 0.4,
    "report_to_record/r@5": 0.5,
    "report_to_record/chance@5": 5 / 30,
    "report_to_genomics/r@1": 0.5,
    "report_to_genomics/chance@1": 1 / 4,
    "report_genomics/alignment": 0.1,
    "record_genomics/alignment": 0.1,
    "report_record/alignment": 0.1,
    "genomics/uniformity": -2.0,
    "record/uniformity": -2.0,
}


def test_metrics_of_few_patients_stay_at_home():
    rules = policy(patients={"metrics": 20})
    assert suppress(rules, METRICS, 19) == {"seconds": 2.5}
    assert suppress(rules, METRICS, 30) == {
        name: METRICS[name]
        for name in (
            "patients",
            "seconds",
            "loss",
            "train/loss",
            "report_to_record/r@5",
            "report_to_record/chance@5",
            "report_record/alignment",
            "record/uniformity",
        )
    }
    assert suppress(SitePolicy(), METRICS, 1) == METRICS


def test_counts_given_for_a_metric_decide():
    rules = policy(patients={"metrics": 20})
    found = suppress(
        rules, {"masked_genes": 1.0, "loss": 1.0, "genomics/x": 1.0}, 30, {"masked_genes": 4, "genomics": 25}
    )
    assert found == {"loss": 1.0, "genomics/x": 1.0}


def test_a_small_number_of_patients_is_itself_no_metric():
    assert suppress(policy(patients={"cell": 10}), {"patients": 9.0, "loss": 1.0}, 9) == {"loss": 1.0}


def test_a_metric_that_should_have_been_suppressed_does_not_leave():
    rules = policy(patients={"metrics": 20})
    reply = ReplyFacts("evaluation", patients=19, metrics={"loss": 0.5})
    with pytest.raises(Declined, match=r"patients\.metrics"):
        check_reply(rules, ORDER, reply)
    check_reply(rules, ORDER, replace(reply, metrics=suppress(rules, reply.metrics, 19)))


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 40), max_size=6),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 40), max_size=6),
    st.integers(1, 15),
    st.integers(1, 15),
)
def test_a_group_that_few_patients_taught_stays_at_home(samples, behind, cell, training):
    rules = policy(patients={"cell": cell, "training": training})
    kept = withhold(rules, samples, behind)
    assert kept.items() <= samples.items()
    for group, count in samples.items():
        few = count and (count < cell or behind.get(group, 99) < max(cell, training))
        assert (group in kept) == (not few)


def test_a_group_that_should_have_been_withheld_does_not_leave():
    rules = policy(patients={"training": 20})
    reply = replace(REPLY, samples={"genomics": 40, "fusion": 90}, behind={"genomics": 8, "fusion": 50})
    with pytest.raises(Declined, match="trained by too few of this site's patients"):
        check_reply(rules, ORDER, reply)
    check_reply(rules, ORDER, replace(reply, samples=withhold(rules, reply.samples, reply.behind)))


def test_an_error_that_may_quote_a_table_is_not_told():
    error = UserError("patients.csv: row 7, field age: no number (abc)")
    assert public_reason(SitePolicy(), error) == str(error)
    assert public_reason(policy(error_details=False), error) == "this site could not do its part; its own log says why"
    assert public_reason(policy(error_details=False), Declined("tasks: no")) == "policy: tasks: no"


# Reading the file


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return path


def test_the_template_is_a_policy_and_names_every_rule():
    rules = SitePolicy.load(TEMPLATE)
    assert rules.patients.training == rules.patients.metrics == 20
    assert not rules.shared_embeddings
    assert rules.model_fields_set == set(SitePolicy.model_fields)
    assert rules.statistics == ()


def test_numbers_may_be_written_as_people_write_them(tmp_path):
    rules = SitePolicy.load(written(tmp_path, "budget: {epsilon: 10, delta: 1e-5}\ntasks: pretrain\n"))
    assert rules.budget is not None
    assert rules.budget.delta == 1e-5
    assert rules.tasks == ("pretrain",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limitz: {}", "limitz: no such rule; did you mean limits?"),
        ("limits: {round: 3}", "limits.round: no such rule; did you mean rounds?"),
        ("limits: {rounds: 0}", "limits.rounds: Input should be greater than or equal to 1, found 0"),
        ("limits: {rounds: true}", "limits.rounds: Value error, YAML reads this word as true or false"),
        ("budget: {epsilon: .inf, delta: 0.1}", "budget.epsilon: Input should be a finite number, found inf"),
        ("budget: {epsilon: 3}", "budget.delta: Field required"),
        ("privacy: {site_dp: {min_noise_multiplier: 0}}", "privacy.site_dp.min_noise_multiplier: Input should be"),
        ("", "found None; a policy names its rules"),
        ("- tasks", "found ['tasks']; a policy names its rules"),
        ("tasks: [a\n", "not readable as YAML"),
        ("tasks: [a]\ntasks: [b]\n", "'tasks' stands twice"),
        ("patients: {cell: 5, cell: 1}", "'cell' stands twice"),
    ],
)
def test_a_wrong_policy_is_one_line_with_file_and_field(tmp_path, text, said):
    path = written(tmp_path, text)
    with pytest.raises(UserError) as error:
        SitePolicy.load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_policy_is_no_permission(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml: not readable \(No such file or directory\)"):
        SitePolicy.load(tmp_path / "none.yaml")


def test_the_digest_names_the_rules(tmp_path):
    one = SitePolicy.load(written(tmp_path, "tasks: [pretrain]\nlimits: {rounds: 3}\n"))
    assert one.digest == policy(limits={"rounds": 3}, tasks="pretrain").digest
    assert one.digest != SitePolicy().digest
    assert len(one.digest) == 64
