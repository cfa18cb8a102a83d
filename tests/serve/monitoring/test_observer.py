"""What a host counts: by day, for Prometheus, and beside the bundle's own patients."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from foundation.errors import UserError
from serve import host, manifest
from serve.drift import main as report_drift
from serve.host import Call, Reply
from serve.monitoring import observer, reference
from serve.monitoring.observer import Observer
from serve.monitoring.usage import Usage
from serve.predictor import Predictor

MONITORING = Path(__file__).resolve().parents[3] / "scripts" / "monitoring"
LABELS = {"model": "m", "version": "v1"}
SAMPLE = re.compile(r'(\w+)(?:\{(?:\w+="[^"]*",?)+\})? [-+0-9.eInf]+')


def answer(score: float = 0.4, abstain: bool = False) -> Reply:
    content: dict[str, Any] = {
        "reliability": {"out_of_distribution": {"report": score}, "abstain": abstain},
        "modalities_used": ["report"],
        "examined": {"report": {"what": "word pieces", "examined": 5, "of": 5}},
    }
    return Reply(200, b"{}", {}, content)


def watch(folder: Path, expected: Usage | None = None, version: str = "v1") -> Observer:
    return Observer(folder, expected, {**LABELS, "version": version})


def ask(watching: Observer, count: int, reply: Reply, caller: str | None = "clinic") -> None:
    for _ in range(count):
        watching.observe(caller, Call(b"{}", {}, "r"), reply, 0.015)


def test_the_bundle_counts_its_own_patients(bundle: Path, predictor: Predictor):
    counts = reference.load(bundle)
    assert counts is not None and counts.answered > 0
    assert counts.modalities.keys() <= predictor.schema.modalities.keys()
    assert sum(counts.subsets.values()) == counts.answered


def test_metrics_are_what_was_asked(tmp_path: Path):
    watching = watch(tmp_path)
    ask(watching, 3, answer())
    ask(watching, 1, answer(3.0, abstain=True))
    ask(watching, 2, Reply(422, b"{}", {}))
    ask(watching, 5, Reply(401, b"{}", {}), caller=None)
    lines = watching.metrics({"workers_ready": 1}).splitlines()
    assert {line for line in lines if not line.startswith("#")} >= {
        'consilium_info{model="m",version="v1"} 1',
        'consilium_requests_total{status="200"} 4',
        'consilium_requests_total{status="422"} 2',
        'consilium_requests_total{status="401"} 5',
        "consilium_answered_total 4",
        "consilium_abstained_total 1",
        'consilium_modality_total{modality="report"} 4',
        'consilium_out_of_distribution_score_bucket{modality="report",le="0.5"} 3',
        'consilium_out_of_distribution_score_bucket{modality="report",le="+Inf"} 4',
        'consilium_request_seconds_bucket{le="0.01"} 0',
        'consilium_request_seconds_bucket{le="0.02"} 11',
        "consilium_request_seconds_count 11",
        "consilium_workers_ready 1",
    }
    assert all(line.startswith("# TYPE consilium_") or SAMPLE.fullmatch(line) for line in lines)


def test_counts_go_on_after_a_restart_and_another_version_begins_anew(tmp_path: Path):
    for version, expected in (("v1", 2), ("v1", 4), ("v2", 2)):
        watching = watch(tmp_path, version=version)
        ask(watching, 2, answer())
        watching.close()
        assert sum(usage.answered for usage in observer.load(tmp_path, version).values()) == expected
    assert json.loads((tmp_path / "usage-v1.json").read_text())["version"] == "v1"


def test_counts_of_a_version_that_was_gone_back_to_go_on(tmp_path: Path):
    watching = watch(tmp_path, version="v1")
    ask(watching, 2, answer())
    for version, expected in (("v2", 3), ("v1", 5)):
        watching.replace(None, {"version": version})
        assert json.loads((tmp_path / "usage.json").read_text())["version"] == version
        ask(watching, 3, answer())
        watching.save()
        assert sum(usage.answered for usage in observer.load(tmp_path, version).values()) == expected
    watching.close()
    versions = [json.loads(line)["version"] for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert len(versions) == 8


def test_metrics_tell_of_drift_over_the_last_week(tmp_path: Path):
    expected = Usage()
    for _ in range(50):
        expected.add(200, answer().counted)
    watching = watch(tmp_path, expected)
    ask(watching, 50, answer(3.0))
    text = watching.metrics({})
    values = dict(re.findall(r'consilium_(drift_\w+\{modality="report",statistic="scores"\}) (\S+)', text))
    index, limit = (
        float(values[f'drift_{name}{{modality="report",statistic="scores"}}']) for name in ("index", "limit")
    )
    assert index > limit > 0


@pytest.mark.parametrize(
    "content",
    ["[]", '{"days": 3, "version": "v1"}', '{"days": {"d": {"answered": "x"}}, "version": "v1"}', '{"days": {}}'],
)
def test_counts_that_are_none_are_one_line(tmp_path: Path, content: str):
    (tmp_path / "usage.json").write_text(content)
    with pytest.raises(UserError, match=r"usage\.json"):
        observer.load(tmp_path, "v1")


def test_counts_of_another_version_are_none_of_this_bundle_s(tmp_path: Path):
    watching = watch(tmp_path)
    ask(watching, 1, answer())
    watching.close()
    with pytest.raises(UserError, match=r"usage\.json: counts of version v1, the server's bundle is v2"):
        observer.load(tmp_path, "v2")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not readable as JSON"),
        ("[]", "found a list, not an object"),
        ('{"bundle": "b", "version": "v"}', "holds no 'seal'"),
        ('{"bundle": 3, "seal": "s", "version": "v"}', "'bundle' is no text"),
    ],
)
def test_settings_of_a_host_that_are_none_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, content: str, reason: str
):
    (tmp_path / "host.json").write_text(content)
    monkeypatch.setattr(sys, "argv", ["drift", f"server={tmp_path}", f"output={tmp_path / 'drift'}"])
    with pytest.raises(SystemExit) as ended:
        report_drift()
    assert ended.value.code == 2
    line = capsys.readouterr().err
    assert "host.json" in line and reason in line and line.count("\n") == 1


def test_the_bundle_s_counts_are_held_against_its_manifest(bundle: Path, tmp_path: Path):
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    (copy / "reference.json").write_text(Usage().model_dump_json())
    with pytest.raises(UserError, match=r"reference\.json: changed since"):
        reference.load(copy)


def test_counts_that_cannot_be_saved_are_saved_later(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    watching = watch(tmp_path)
    (tmp_path / ".usage.json").mkdir()  # where it is written before it takes its place
    watching._saved -= 3600
    ask(watching, 1, answer())
    assert "usage.json: cannot be written" in caplog.text
    (tmp_path / ".usage.json").rmdir()
    watching.close()
    assert observer.load(tmp_path, "v1")[min(observer.load(tmp_path, "v1"))].answered == 1


def test_rules_and_dashboard_ask_for_metrics_that_there_are(tmp_path: Path):
    expected = Usage()
    expected.add(200, answer().counted)
    watching = watch(tmp_path, expected)
    ask(watching, 1, answer())
    gauges = dict.fromkeys(("workers_ready", "worker_restarts_total", "waiting_requests"), 1.0)
    gauges |= dict.fromkeys(("batches_total", "batched_requests_total"), 1.0)
    known = {match[1] for match in map(SAMPLE.match, watching.metrics(gauges).splitlines()) if match}
    rules = yaml.safe_load((MONITORING / "prometheus_rules.yaml").read_text())
    dashboard = json.loads((MONITORING / "grafana_dashboard.json").read_text())
    alerts = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(alerts) >= 6 and len(panels) >= 8
    for expression in [*alerts, *panels]:
        named = set(re.findall(r"consilium_\w+", expression))
        assert named and named <= known, expression


@pytest.mark.process
def test_the_drift_report_names_what_drifted(bundle: Path, predictor: Predictor, tmp_path: Path):
    server = tmp_path / "server"
    server.mkdir()
    settings = {"bundle": str(bundle), "seal": manifest.seal(bundle), "version": predictor.schema.version}
    (server / "host.json").write_text(json.dumps(settings))
    watching = Observer(server, reference.load(bundle), {"version": predictor.schema.version})
    (reply,) = host.answer(predictor, [Call(b'{"report": "Atypia."}', {}, "r")])
    ask(watching, 200, reply)
    watching.close()
    command = [sys.executable, "-m", "serve.drift", f"server={server}", f"output={tmp_path / 'drift'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "**Drift: " in done.stdout and "200 lines, unbroken" in done.stdout
    rows = json.loads((tmp_path / "drift" / "drift.json").read_text())["compared"]
    assert {row["statistic"] for row in rows if row["modality"] == "genomics"} == {"share"}
    assert all(row["drifted"] for row in rows if (row["statistic"], row["modality"]) == ("share", "pathology"))
