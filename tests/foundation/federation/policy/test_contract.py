"""The file of a site's policy, read."""

from pathlib import Path

import pytest

from foundation.errors import UserError
from foundation.federation.policy import (
    SitePolicy,
)
from foundation.federation.policy.contract import TEMPLATE
from tests.foundation.federation.policy.orders import policy


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
