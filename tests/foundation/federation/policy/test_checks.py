"""The checks of a site's policy: each rule declines by its name."""

from dataclasses import replace
from importlib.metadata import version

import pytest

from foundation.federation.ledger.entry import Entry
from foundation.federation.ledger.spent import Spent
from foundation.federation.policy import (
    Declined,
    Noise,
    PrivacyFacts,
    ReplyFacts,
    SitePolicy,
    check_order,
    check_reply,
)
from tests.foundation.federation.policy.orders import ORDER, REPLY, order, policy


def sent(epsilon: float | None, run: str = "r1", kind: str = "update", delta: float = 1e-6) -> Entry:
    facts = {"direction": "out", "run": run, "epsilon": epsilon, "delta": None if epsilon is None else delta}
    return Entry.model_validate({"index": 0, "previous": "", "time": "", "kind": kind, **facts})


def test_without_rules_anything_passes_but_embeddings():
    order(SitePolicy())
    check_reply(SitePolicy(), ORDER, REPLY)
    with pytest.raises(Declined, match="shared_embeddings"):
        order(SitePolicy(), replace(ORDER, embeddings=True))
    with pytest.raises(Declined, match="shared_embeddings"):
        check_reply(SitePolicy(), ORDER, replace(REPLY, kind="embeddings"))
    order(policy(shared_embeddings=True), replace(ORDER, embeddings=True))


def test_another_release_is_declined_whatever_the_policy_says():
    with pytest.raises(Declined, match=r"release: this site runs 0\.2\.0, and the plan is of another"):
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


def test_small_batches_are_declined():
    order(policy(patients={"batch": 8}), replace(ORDER, batch=8))
    order(policy(patients={"batch": 8}), ORDER)  # every step sees all
    with pytest.raises(Declined, match=r"patients\.batch: 7 a step asked, at least 8 required"):
        order(policy(patients={"batch": 8}), replace(ORDER, batch=7))


def test_few_patients_train_under_masks_or_noise_alone():
    rules, bare = policy(patients={"unprotected": 40}), replace(ORDER, privacy=PrivacyFacts())
    order(rules, patients=39)
    order(rules, bare, patients=40)
    with pytest.raises(Declined, match=r"patients\.unprotected: too few to train on without masks and without this"):
        order(rules, bare, patients=39)


@pytest.mark.parametrize(
    ("samples", "epochs", "leaves"), [(20, 1, True), (19, 1, False), (39, 2, True), (38, 2, False), (400, 30, False)]
)
def test_contributions_of_the_same_patients_are_not_counted_as_others(samples: int, epochs: int, leaves: bool):
    rules = policy(patients={"training": 20})
    reply = replace(REPLY, samples={"fusion": samples}, epochs=epochs)
    if leaves:
        check_reply(rules, ORDER, reply)
    else:
        with pytest.raises(
            Declined, match="patients: a parameter group was trained by too few of this site's patients"
        ):
            check_reply(rules, ORDER, reply)


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


@pytest.mark.attack
def test_attack_of_a_server_that_promises_noise_of_its_own_to_a_budget():
    rules = {"budget": {"epsilon": 100, "delta": 1e-3}}
    central = replace(ORDER, privacy=PrivacyFacts(server_noise=True))
    for after in (Spent(), Spent(1.0, 1e-5), None):
        with pytest.raises(Declined, match=r"^policy: privacy\.server_noise: the noise is the server's to add"):
            order(policy(**rules), central, spent_after=after)
    with pytest.raises(Declined, match="server_noise"):
        check_reply(policy(**rules), central, replace(REPLY, spent=Spent(1.0, 1e-5)))
    order(policy(**rules, privacy={"server_noise": True}), central, spent_after=Spent(1.0, 1e-5))
    order(policy(**rules), spent_after=Spent(1.0, 1e-5))


@pytest.mark.parametrize("kind", ["evaluation", "statistics"])
def test_under_a_budget_nothing_leaves_uncounted_unless_its_owner_says_so(kind):
    asked = replace(ORDER, task="evaluate" if kind == "evaluation" else "statistics", exact=True)
    answer = ReplyFacts(kind, 100, metrics={"auc": 0.9} if kind == "evaluation" else {})
    order(policy(), asked)
    check_reply(policy(), asked, answer)
    rules = policy(budget={"epsilon": 5, "delta": 1e-5})
    for attempt in (lambda: order(rules, asked), lambda: check_reply(rules, asked, answer)):
        with pytest.raises(Declined, match=r"budget\.exact: evaluations and statistics carry no noise"):
            attempt()
    knowingly = policy(budget={"epsilon": 5, "delta": 1e-5, "exact": True})
    order(knowingly, asked)
    check_reply(knowingly, asked, answer)
