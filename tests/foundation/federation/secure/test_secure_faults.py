"""Sites that leave, decline, err or are asked too much in a secure round."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage

from foundation.errors import UserError
from foundation.federation.secure import Secure, SecureOrder, secure_mod, secure_round
from foundation.federation.secure.site import submission
from foundation.federation.server.components import ServerComponents
from tests.foundation.federation.secure_sites import (
    AFTER,
    BEFORE,
    GROUPS,
    NODES,
    SAMPLES,
    a_task,  # noqa: F401 - a fixture for every test here
    equals_the_plain_mean,
    grid_of,
    pack,
    round_of,
    site_app,
    unpack,
    update_of,
)
from tests.foundation.federation.stub_sites import PatchyGrid, Stubs, begin, config, run


def gone(content: RecordDict) -> None:
    return None


def broken(content: RecordDict) -> RecordDict:
    raise RuntimeError("the disk is full")


def shortened(content: RecordDict) -> RecordDict:
    content.config_records[RECORD_KEY_CONFIGS][Key.MASKED_PARAMETERS].pop()
    return content


@pytest.mark.parametrize(
    ("stage", "change", "reason"),
    [
        (Stage.SETUP, gone, "setup: no answer in 0.2 s"),
        (Stage.SETUP, broken, "setup: the node failed: <class 'RuntimeError'>:<'the disk is full'>"),
        (Stage.SHARE_KEYS, gone, "share_keys: no answer in 0.2 s"),
        (Stage.COLLECT_MASKED_VECTORS, gone, "collect_masked_vectors: no answer in 0.1 s"),
        (Stage.COLLECT_MASKED_VECTORS, broken, "collect_masked_vectors: the node failed: .*disk is full"),
        (Stage.COLLECT_MASKED_VECTORS, shortened, "collect_masked_vectors: masked vectors of other shapes"),
    ],
)
def test_a_site_that_leaves_is_left_out_and_named(stage, change, reason):
    found = round_of(grid_of(**{f"lakeview__{stage}": change}))
    assert found.took_part == ["riverside", "northgate", "summit"]
    assert list(found.absent) == ["lakeview"]
    assert re.match(reason, found.absent["lakeview"])
    equals_the_plain_mean(found, AFTER, SAMPLES, 4)


def test_a_site_that_leaves_after_it_submitted_is_in_the_sum():
    found = round_of(grid_of(lakeview__unmask=gone))
    assert (found.took_part, found.absent) == (list(SAMPLES), {})
    equals_the_plain_mean(found, AFTER, SAMPLES, 4)


def test_sites_that_leave_at_different_stages_are_survived_together():
    grid = grid_of(summit__share_keys=gone)
    found = round_of(grid, chosen=Secure(threshold=0.5, exchange_seconds=0.2))
    assert found.took_part == ["riverside", "northgate", "lakeview"]
    late = grid_of(summit__unmask=gone)
    assert round_of(late, chosen=Secure(threshold=0.5, exchange_seconds=0.2)).took_part == list(SAMPLES)


@pytest.mark.parametrize("stage", [Stage.SETUP, Stage.SHARE_KEYS, Stage.COLLECT_MASKED_VECTORS, Stage.UNMASK])
def test_too_few_sites_are_one_clear_error(stage):
    leaving = {f"{site}__{stage}": gone for site in ("riverside", "summit")}
    with pytest.raises(UserError, match=r"3 of 4 sites must stay to the end, and 2 left \(.*riverside: .*no answer"):
        round_of(grid_of(**leaving))


def test_a_site_comes_back_in_the_next_round():
    grid = grid_of(lakeview__collect_masked_vectors=broken)
    assert "lakeview" in round_of(grid).absent
    grid.changes = {}
    found = round_of(grid)
    assert found.took_part == list(SAMPLES)
    equals_the_plain_mean(found, AFTER, SAMPLES, 4)


def test_a_site_that_declines_is_left_out_with_its_reason():
    grid = grid_of()
    apps = dict(grid.apps)
    unwilling = ClientApp(mods=[secure_mod])

    @unwilling.train()
    def train(message: Message, context: Context) -> Message:
        return Message(RecordDict({"facts": ConfigRecord({"declined": "no epsilon left"})}), reply_to=message)

    grid.apps = apps | {NODES["summit"]: unwilling}
    found = round_of(grid)
    assert found.absent == {"summit": "collect_masked_vectors: declined: no epsilon left"}
    equals_the_plain_mean(found, AFTER, SAMPLES, 4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_update_that_is_not_finite_never_leaves(value):
    spoilt = AFTER["summit"] | {"encoder.fusion.blocks.layer": np.full((64, 64), value, np.float32)}
    found = round_of(grid_of(AFTER | {"summit": spoilt}))
    assert "encoder.fusion.blocks.layer: the site's update is not finite" in found.absent["summit"]
    equals_the_plain_mean(found, AFTER, SAMPLES, 4)


def test_more_samples_than_agreed_are_refused_at_the_site():
    order = SecureOrder.of(Secure(), 63, GROUPS)
    with pytest.raises(UserError, match=r"64 samples in fusion, of 63 at most"):
        submission(order, BEFORE, update_of(AFTER["northgate"], SAMPLES["northgate"]))


def test_other_messages_pass_through_the_mod():
    app, context = site_app("summit", AFTER["summit"], SAMPLES["summit"]), Context(1, 11, {}, RecordDict(), {})
    plain = app(Message(pack(BEFORE), 11, "train"), context)
    assert set(unpack(plain.content)) == set(BEFORE)
    assert app(Message(pack(BEFORE), 11, "evaluate"), context).content.metric_records["metrics"] == {"loss": 1.0}
    assert not context.state


def message_of(stage: str, **values) -> Message:
    return Message(RecordDict({RECORD_KEY_CONFIGS: ConfigRecord({Key.STAGE: stage, **values})}), 11, "train")


def test_a_site_refuses_what_would_open_updates():
    context = Context(1, 11, {}, RecordDict(), {})
    app = site_app("summit", AFTER["summit"], SAMPLES["summit"])
    with pytest.raises(UserError, match="2 of 4 shares open a mask; refused below a majority"):
        app(message_of(Stage.SETUP, sample_num=4, threshold=2), context)
    with pytest.raises(UserError, match="1 sites were to be summed; refused below 2"):
        app(message_of(Stage.SETUP, sample_num=1, threshold=1), context)
    with pytest.raises(UserError, match="asked for both shares of one site"):
        app(message_of(Stage.UNMASK, active_nids=[1, 2], dead_nids=[2]), context)


def test_a_handler_cannot_send_arrays_unmasked():
    grid = grid_of()
    careless = ClientApp(mods=[secure_mod])

    @careless.train()
    def train(message: Message, context: Context) -> Message:
        return Message(pack(AFTER["summit"]), reply_to=message)

    grid.apps = dict(grid.apps) | {NODES["summit"]: careless}
    found = round_of(grid)
    assert "the reply holds unmasked arrays (arrays); not sent" in found.absent["summit"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("norm", 0.0),
        ("statistic_range", float("inf")),
        ("minimum_sites", 1),
        ("minimum_contributors", 4),
        ("threshold", 0),
        ("processes", 0),
    ],
)
def test_bad_settings_are_named(setting, value):
    with pytest.raises(UserError, match=rf"^secure\.{setting}: "):
        Secure(**{setting: value})


def test_too_few_sites_and_too_many_samples_are_refused_before_anything_is_sent():
    grid = grid_of()
    with pytest.raises(UserError, match="minimum_sites: 3, and 2 sites are there"):
        round_of(grid, ("riverside", "summit"))
    with pytest.raises(UserError, match="too many to count"):
        secure_round(grid, NODES, pack(BEFORE), BEFORE, Secure(), 2**26, 1, None)  # type: ignore[arg-type]
    assert not grid.sent


@pytest.mark.parametrize("strategy", ["averaging.Cyclic", "robust.Krum", "scaffold.Scaffold"])
def test_strategies_that_need_single_updates_are_refused_before_a_round(strategy: str, tmp_path: Path):
    chosen = {"_target_": f"foundation.federation.strategies.{strategy}"}
    cfg = config(tmp_path, strategy=chosen, secure={"_target_": "foundation.federation.secure.Secure"})
    with pytest.raises(UserError, match="needs each site's own update"):
        ServerComponents.of(cfg)


def test_counts_have_room_for_a_sites_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    asked: list[int] = []

    def noted(grid, nodes, order, before, settings, most, *rest, **more):
        asked.append(most)
        raise UserError("enough")

    monkeypatch.setattr("foundation.federation.server.round.secure_round", noted)
    secure = {"_target_": "foundation.federation.secure.Secure", "processes": 3}
    with pytest.raises(UserError, match="enough"):
        run(config(tmp_path, secure=secure), PatchyGrid(Stubs({}).app), begin(tmp_path))
    assert asked == [2 * 8 * 3], "steps x batch x processes"


@pytest.mark.process
@pytest.mark.slow
def test_in_flowers_own_engine_a_round_survives_a_death_and_stays_within_the_bound(tmp_path: Path):
    script = Path(__file__).resolve().parents[4] / "scripts/bench/secure.py"
    command = [sys.executable, str(script), "--values", "2000", "--json", str(tmp_path / "rows")]
    subprocess.run(command, check=True, capture_output=True, timeout=400)
    plain, whole, survived = json.loads((tmp_path / "rows").read_text())
    assert [row["took_part"] for row in (plain, whole, survived)] == [4, 4, 3]
    assert all(row["error"] <= row["bound"] for row in (whole, survived))
    assert [whole["absent"], len(survived["absent"])] == [[], 1]
    assert survived["absent"][0].startswith("collect_masked_vectors: the node failed: ")
    assert "the power went" in survived["absent"][0]
    assert whole["from_site"] < 2.2 * plain["from_site"]
