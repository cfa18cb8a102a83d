"""Files by which an endpoint is run as a service: against Kubernetes' schemas, and against what the command takes."""

import configparser
import json
import re
import shlex
from pathlib import Path
from typing import Any

import hydra
import pytest
import yaml
from omegaconf import DictConfig

from serve.asgi import app

FOLDER = Path(__file__).resolve().parents[2] / "scripts" / "serving"
KUBERNETES = list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))
KSERVE = yaml.safe_load((FOLDER / "kserve.yaml").read_text())
SET = next(one for one in KUBERNETES if one["kind"] == "StatefulSet")
LONGER = 5  # seconds that `stop` waits beside the drain


def pods() -> dict[str, dict[str, Any]]:
    """By file, the specification of its pod."""
    template = SET["spec"]["template"]["spec"]
    claimed = [{"name": one["metadata"]["name"], "emptyDir": {}} for one in SET["spec"]["volumeClaimTemplates"]]
    predictor = {key: value for key, value in KSERVE["spec"]["predictor"].items() if not key.endswith("Replicas")}
    predictor.pop("timeout")
    return {"kubernetes": {**template, "volumes": template["volumes"] + claimed}, "kserve": predictor}


def settings(arguments: list[str]) -> DictConfig:
    with hydra.initialize_config_module("configs", version_base="1.3"):
        return hydra.compose("serve", arguments)


def unit() -> dict[str, str]:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((FOLDER / "consilium-serve.service").read_text())
    return dict(parser["Service"])


@pytest.mark.parametrize("document", KUBERNETES, ids=lambda document: document["kind"])
def test_manifests_are_what_kubernetes_takes(document: dict[str, Any]):
    oracle = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is an oracle of tests alone")
    oracle.validate(document, "1.31", strict=True)


@pytest.mark.parametrize("name", ["kubernetes", "kserve"])
def test_pods_are_what_kubernetes_takes(name: str):
    oracle = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is an oracle of tests alone")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pods()[name]}
    oracle.validate(pod, "1.31", strict=True)


@pytest.mark.parametrize("name", ["kubernetes", "kserve"])
def test_pods_run_without_rights_and_mount_what_they_name(name: str):
    pod = pods()[name]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert re.fullmatch(r"\S+:\d+\.\d+\.\d+", container["image"])
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert mounts.keys() == {one["name"] for one in pod["volumes"]}
    config = settings(container["args"])
    paths = [config.output, config.asgi.callers, *filter(None, (config.asgi.certificate, config.asgi.key))]
    models = ["/mnt/models"] if name == "kserve" else []
    for path in (*paths, config.bundle):
        assert any(Path(path).is_relative_to(mount) for mount in [*mounts.values(), *models]), path


@pytest.mark.parametrize("name", ["kubernetes", "kserve"])
def test_pods_are_asked_where_the_host_answers_and_are_given_time_to_stop(name: str):
    pod = pods()[name]
    (container,) = pod["containers"]
    config = settings(container["args"])
    assert config.asgi.unencrypted == (config.asgi.certificate is None)
    assert container["readinessProbe"]["httpGet"]["path"] in app._READY
    assert container["livenessProbe"]["httpGet"]["path"] in app._LIVE
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert list(ports.values()) == [config.port]
    for probe in ("readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert ports.get(asked["port"], asked["port"]) == config.port
        assert (asked.get("scheme") == "HTTPS") == (config.asgi.certificate is not None)
    pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert pod["terminationGracePeriodSeconds"] > pause + config.asgi.drain_seconds + LONGER


def test_service_policy_and_budget_are_of_the_pods_that_there_are():
    labels = SET["spec"]["template"]["metadata"]["labels"]
    by_kind = {one["kind"]: one["spec"] for one in KUBERNETES}
    assert by_kind["Service"]["selector"] == SET["spec"]["selector"]["matchLabels"] == labels
    assert by_kind["PodDisruptionBudget"]["selector"]["matchLabels"] == labels
    assert by_kind["NetworkPolicy"]["podSelector"]["matchLabels"] == labels
    assert SET["spec"]["serviceName"] == next(one["metadata"]["name"] for one in KUBERNETES if one["kind"] == "Service")
    assert not [one for one in KUBERNETES if one["kind"] == "Secret"]


def test_kserve_asks_a_container_of_ours_by_its_second_protocol():
    assert (KSERVE["apiVersion"], KSERVE["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    (container,) = KSERVE["spec"]["predictor"]["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert container["name"] == "kserve-container" and environment["PROTOCOL"] == "v2"
    assert settings(container["args"]).bundle == "/mnt/models"


def test_the_unit_starts_the_command_and_gives_it_time_to_stop():
    service = unit()
    words = shlex.split(service["ExecStart"].replace("\\\n", " "))
    assert words[1:3] == ["-m", "serve"]
    config = settings(words[3:])
    assert service["KillMode"] == "mixed"
    assert int(service["TimeoutStopSec"]) > config.asgi.drain_seconds + LONGER
    assert config.asgi.certificate and not config.asgi.unencrypted and config.output == service["ReadWritePaths"]


def test_the_image_starts_the_command_as_nobody_of_rights():
    lines = (FOLDER / "Containerfile").read_text().splitlines()
    words = {line.partition(" ")[0]: line.partition(" ")[2] for line in lines if line and not line.startswith("#")}
    assert json.loads(words["ENTRYPOINT"])[1:] == ["-m", "serve"]
    config = settings(json.loads(words["CMD"]))
    assert (str(config.port), words["USER"], words["VOLUME"]) == (words["EXPOSE"], "1000", config.output)
    assert config.asgi.certificate and not config.asgi.unencrypted
