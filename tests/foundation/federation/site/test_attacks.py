"""A dishonest server's orders at a hospital: each is refused in one line, before anything is built, and is noted."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from flwr.supercore.task_identity import TaskIdentity
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from foundation.federation.ledger.files import load
from foundation.federation.planning import plan_of
from foundation.federation.policy.contract import TEMPLATE
from foundation.federation.site.app import app
from foundation.federation.wire.messages import Decline, Order, pack_order, unpack_reply

pytestmark = pytest.mark.attack
SITES = "sites=[riverside,northgate,lakeview]"
SECRET = "s3cret-of-the-hospital"
Send = Callable[..., str]
_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def a_node() -> Iterator[None]:
    """The identity that Flower gives a node's process."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, SUPERLINK_NODE_ID, 1
    yield
    TaskIdentity._run_id = TaskIdentity._node_id = TaskIdentity._task_id = None


@pytest.fixture(scope="module")
def cfg(small_cohort: Path) -> DictConfig:
    more = ["output=x", "rounds=4", "data.batch_size=16", f"data.folder={small_cohort}"]
    with initialize_config_module("configs", version_base="1.3"):
        return compose("federated", ["experiment=demo", SITES, *more])


@pytest.fixture
def home(small_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hospital's folder under the shipped template, but that it needs no owner; nothing may be built or read."""
    monkeypatch.setenv("HOSPITAL_DB_PASSWORD", SECRET)
    monkeypatch.setattr("foundation.data.cohort.Cohort.__init__", lambda *_: pytest.fail("patients were read"))
    monkeypatch.setattr("pretrain.fit.build_module", lambda *_: pytest.fail("a model was built"))
    (tmp_path / "policy.yaml").write_text(TEMPLATE.read_text().replace("approval: owner", "approval: rules"))
    content = {"name": "riverside", "data": str(small_cohort), "policy": "policy.yaml"}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(content))
    return tmp_path


@pytest.fixture
def send(home: Path) -> Send:
    """The one line that a hospital answers with; its ledger then holds it, and is whole."""

    def sent(content: RecordDict, kind: str = "train") -> str:
        message = Message(content, 1, kind, group_id="0")
        message.metadata.__dict__["_message_id"] = str(next(_numbers))
        context = Context(1, 1, {"site": str(home / "site.yaml")}, RecordDict(), {})
        reply = app(message, context)
        assert not reply.has_error()
        answer = unpack_reply(reply.content)
        assert isinstance(answer, Decline), "it was answered"
        assert "\n" not in answer.reason and len(answer.reason) < 600 and SECRET not in answer.reason
        chain = load(home / "ledger.jsonl")
        assert chain.problems == [] and chain.entries[-1].kind == "decline"
        assert chain.entries[-1].note == answer.reason[:300]
        return answer.reason

    return sent


def packed(cfg: DictConfig, weights: dict[str, np.ndarray] | None = None, number: int = 1, **more: Any) -> RecordDict:
    return pack_order(Order(plan_of(cfg), weights or {}, "run-1", number, **more))


def with_facts(content: RecordDict, **facts: Any) -> RecordDict:
    content["facts"] = ConfigRecord({**content.config_records["facts"], **facts})
    return content


def with_plan(content: RecordDict, *path: str, value: Any) -> RecordDict:
    """An order whose plan has another value at a place."""
    plan = json.loads(str(content.config_records["facts"]["plan"]))
    node = plan
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return with_facts(content, plan=json.dumps(plan))


COMPILER = {"options": {"cpp.enable_floating_point_contract_flag": "off -wrapper sh,-c,id;false"}}
PLANS: dict[str, tuple[tuple[str, ...], Any]] = {
    "a variable of the environment among the statistics": (("statistics",), ["${oc.env:HOSPITAL_DB_PASSWORD}"]),
    "a variable of the environment as the task": (("task",), "${oc.env:HOSPITAL_DB_PASSWORD}"),
    "a variable of the environment as a release": (("release",), "${oc.env:HOSPITAL_DB_PASSWORD}"),
    "a variable of the environment as a hospital": (("training",), ["riverside", "${oc.env:HOSPITAL_DB_PASSWORD}"]),
    "a compiler's options": (("compile",), COMPILER),
    "a compiler's options among the task's settings": (("settings", "compile"), COMPILER),
    "a trainer": (("trainer",), {"_target_": "os.system"}),
    "a trainer among the settings": (("settings", "trainer"), {"plugins": ["os"]}),
    "a class of its own as an objective": (("settings", "objective", "x"), {"_target_": "os.system"}),
    "a class of its own as an objective's kind": (("settings", "objective", "alignment", "kind"), "os.system"),
    "a class of its own as a modality's kind": (("settings", "modality", "genomics", "kind"), "builtins.exec"),
    "a target beside a modality's kind": (("settings", "modality", "genomics", "_target_"), "builtins.exec"),
    "a folder of patients": (("settings", "data", "folder"), "/etc"),
    "a split of its own": (("settings", "data", "folds"), 66),
    "a fold of its own": (("settings", "data", "fold"), 3),
    "a share of validation": (("settings", "data", "validation_fraction"), 0.0),
    "a seed of the split": (("settings", "data", "split_seed"), 7),
    "workers that load": (("settings", "data", "num_workers"), 512),
    "weights from a path": (("settings", "modality", "pathology", "weights"), "/etc/shadow"),
    "a backbone from a hub": (("settings", "modality", "pathology", "backbone"), "hf-hub:someone/model"),
    "a backbone from a folder": (("settings", "modality", "pathology", "backbone"), "local-dir:/tmp/model"),
    "options of the backbone": (("settings", "modality", "pathology", "model_args"), {"pretrained_cfg": {"file": "x"}}),
    "a pretrained backbone": (("settings", "modality", "pathology", "model_args"), {"pretrained": True}),
    "a language model from a hub": (("settings", "modality", "report", "model"), "someone/model"),
    "loggers": (("settings", "loggers"), ["wandb"]),
    "an output folder": (("output",), "/root/.ssh"),
    "a ledger": (("ledger",), "/dev/null"),
    "a policy": (("policy",), {"patients": {"training": 1}}),
    "masks that hide nothing": (("settings", "modality", "genomics", "mask_ratio"), 1e-6),
    "batches of one": (("settings", "data", "batch_size"), 1),
    "batches below the floor": (("settings", "data", "batch_size"), 15),
    "no batches at all": (("settings", "data", "batch_size"), 0),
    "a step that overflows": (("settings", "optimizer", "learning_rate"), 1e30),
    "rounds without an end": (("rounds",), 10**9),
    "more rounds than the policy": (("rounds",), 501),
    "more steps than the policy": (("steps",), 1001),
    "an objective that is weighed below zero": (("settings", "objective_weights"), {"masked_genes": -1.0}),
    "a strategy that is a path": (("strategy", "kind"), "../averaging"),
    "parts that stay, by an expression": (("strategy", "local"), ["(a+)+$"]),
    "embeddings of patients": (("settings", "bank"), {"modalities": ["genomics"], "noise": 1e-9, "evil": 1}),
    "another version of the contract": (("version",), 2),
    "a truth for a number": (("rounds",), True),
    "text for a number": (("steps",), "16"),
    "a hospital twice": (("evaluating",), ["riverside"]),
    "a hospital whose name is a path": (("evaluating",), ["../../etc"]),
}


@pytest.mark.parametrize("attack", PLANS)
def test_a_plan_with(attack: str, cfg: DictConfig, send: Send):
    path, value = PLANS[attack]
    reason = send(with_plan(packed(cfg), *path, value=value))
    for word in ("os.system", "shadow", "hf-hub", "local-dir", "oc.env", "wrapper", ".ssh", "(a+)"):
        assert word not in reason, "what came is not repeated"


HEADERS: dict[str, dict[str, Any]] = {
    "a run that is a path": {"run": "../../../tmp/x"},
    "a run that is a variable": {"run": "${oc.env:HOSPITAL_DB_PASSWORD}"},
    "a run without a name": {"run": ""},
    "a run of many lines": {"run": "a\nb"},
    "a round before the first": {"round": -1},
    "a round that is text": {"round": "1"},
    "a round beyond the plan": {"round": 5},
    "a clip that is no number": {"clip": "1"},
    "a clip of nothing": {"clip": 0.0},
    "a witness that is none": {"head": "x" * 64},
    "frozen weights of a path": {"frozen": {"../x": "a" * 64}},
    "buffers of an expression": {"buffers": ["(a+)+$"]},
    "settings of its own": {"settings": {"privacy_clip": 1e9}},
    "a config": {"config": "compile: {}"},
    "a step to start from": {"start_step": 10**9},
}


@pytest.mark.parametrize("attack", HEADERS)
def test_an_order_with(attack: str, cfg: DictConfig, send: Send):
    header = {"run": "run-1", "round": 1, **HEADERS[attack]}
    assert send(with_facts(packed(cfg), order=json.dumps(header))).startswith("order: ")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "", "a b", "${x}", "a\x00", "x" * 400])
def test_arrays_have_names_of_parameters(name: str, cfg: DictConfig, send: Send):
    content = packed(cfg, {name: np.ones(2, np.float32)})
    assert send(content) == "order: an array whose name is no parameter's"


def test_what_is_no_order_is_refused_without_a_traceback(cfg: DictConfig, send: Send):
    whole = packed(cfg)
    for content in (
        RecordDict(),
        RecordDict({name: part for name, part in whole.items() if name != "control"}),
        with_facts(packed(cfg), plan=5),
        with_facts(packed(cfg), plan="[" * 100_000),
        with_facts(packed(cfg), order="{" * 100_000),
        with_facts(packed(cfg), order="{}" + " " * (3 << 20)),
        RecordDict({**packed(cfg), "facts": ConfigRecord({"config": "compile: {}", "run": "r", "round": 1})}),
    ):
        send(content)
        send(content, "evaluate")
        send(content, "query.statistics")


def test_the_order_in_the_open_of_a_run_that_promised_masks(configure, send: Send):
    cfg = configure(SITES, "output=x", "secure=secagg_plus", "data.batch_size=16", command="federated")
    assert send(packed(cfg)).startswith("policy: secure: masks are asked for in the order or in its plan")


def test_a_site_whose_policy_asks_for_noise_of_its_own_counts_on_no_servers(configure, home: Path, send: Send):
    rules = (home / "policy.yaml").read_text()
    (home / "policy.yaml").write_text(rules.replace("site_dp: null", "site_dp: {min_noise_multiplier: 1}"))
    cfg = configure(SITES, "output=x", "privacy=central", "data.batch_size=16", command="federated")
    assert send(packed(cfg)) == "policy: privacy.site_dp: required here, and the run does without"


def test_another_hospitals_order_is_refused(configure, send: Send):
    cfg = configure("sites=[northgate,lakeview]", "output=x", "data.batch_size=16", command="federated")
    assert send(packed(cfg)) == "policy: plan: this hospital has no part in it"


@pytest.mark.parametrize(("sites", "threshold"), [(1, 1), (0, 0), (4, 2), (4, "x")])
def test_a_secure_sum_that_would_open_one_sites_update_is_refused_and_noted(
    sites: int, threshold: int | str, send: Send
):
    stage = {Key.STAGE: Stage.SETUP, Key.SAMPLE_NUMBER: sites, Key.SHARE_NUMBER: sites, Key.THRESHOLD: threshold}
    assert (
        send(RecordDict({RECORD_KEY_CONFIGS: ConfigRecord(stage)}))
        == "this site could not do its part; its own log says why"
    )
