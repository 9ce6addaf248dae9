"""The examples of a deployment: what they name exists, what they open is served, and nothing runs as root."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from consumers.main import _parser
from consumers.pulse import LOOP_SILENT_SECONDS
from consumers.roles import STOP_DEADLINE_SECONDS
from infra.metrics_list import EVERY_ROLE
from infra.settings import PREFIX, Settings
from tests.tidy import pages

DEPLOY = pages.ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
OPS_PORT = 9464

Yaml = dict[str, Any]  # `Any`: as varied as the files.


def _documents(file: Path) -> list[Yaml]:
    return [one for one in yaml.safe_load_all(file.read_text()) if one is not None]


KUSTOMIZATION: Yaml = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
OBJECTS = [one for name in KUSTOMIZATION["resources"] for one in _documents(KUBERNETES / name)]
COMPOSE: Yaml = yaml.safe_load((DEPLOY / "compose.yml").read_text())


def _of_kind(*kinds: str) -> dict[str, Yaml]:
    return {one["metadata"]["name"]: one for one in OBJECTS if one["kind"] in kinds}


WORKLOADS = _of_kind("Deployment", "StatefulSet", "Job")
ROLES = {name: one for name, one in WORKLOADS.items() if one["kind"] != "Job"}


def _pod(workload: Yaml) -> Yaml:
    pod: Yaml = workload["spec"]["template"]["spec"]
    return pod


def _container(workload: Yaml) -> Yaml:
    (container,) = _pod(workload)["containers"]
    return dict(container)


def _unknown(names: list[str]) -> list[str]:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    return sorted(name for name in names if name.startswith(PREFIX) and name not in known)


def _is_command(words: list[str]) -> bool:
    try:
        _parser().parse_args(words)
    except SystemExit:
        return False
    return True


@pytest.mark.parametrize("one", OBJECTS, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_each_object_is_what_kubernetes_takes(one: Yaml) -> None:
    """By its own schema, strictly: a field that is misspelt is no field."""
    kubernetes_validate.validate(one, kubernetes_validate.latest_version().rpartition(".")[0], strict=True)


def test_every_manifest_is_applied_but_what_needs_an_operator() -> None:
    """The kustomization names each file."""
    there = {file.name for file in KUBERNETES.glob("*.yaml")}

    assert there - set(KUSTOMIZATION["resources"]) == {"kustomization.yaml", "podmonitor.yaml"}


def test_every_role_and_the_migration_run() -> None:
    """Each by its own command."""
    assert {name: _container(one)["args"] for name, one in WORKLOADS.items()} == {
        **{role: [role] for role in EVERY_ROLE},
        "migrate": ["db", "upgrade"],
    }
    assert [one["args"] for one in map(_container, WORKLOADS.values()) if not _is_command(one["args"])] == []


@pytest.mark.parametrize("role", EVERY_ROLE)
def test_each_role_is_probed_where_it_answers(role: str) -> None:
    """On the port of its settings; within two minutes after its loop hung it is started again."""
    container = _container(ROLES[role])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    settings = _of_kind("ConfigMap")["guard-settings"]["data"]
    alive, ready = container["livenessProbe"], container["readinessProbe"]

    assert ports["ops"] == OPS_PORT == int(settings["GUARD_METRICS_PORT"])
    assert (alive["httpGet"], ready["httpGet"]) == (
        {"path": "/livez", "port": "ops"},
        {"path": "/readyz", "port": "ops"},
    )
    assert LOOP_SILENT_SECONDS + alive["failureThreshold"] * alive["periodSeconds"] <= 120
    assert _pod(ROLES[role])["terminationGracePeriodSeconds"] > STOP_DEADLINE_SECONDS


@pytest.mark.parametrize("name", WORKLOADS)
def test_nothing_may_more_than_it_needs(name: str) -> None:
    """No root, no privileges, nothing of its image to write to, no token, and no settings that nobody made."""
    pod, container = _pod(WORKLOADS[name]), _container(WORKLOADS[name])

    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} == container["resources"]["requests"].keys()
    assert "memory" in container["resources"]["limits"]


def test_the_image_is_named_once() -> None:
    """The manifests say which, and the kustomization alone says from where and of which version."""
    version = tomllib.loads(pages.page("pyproject.toml"))["project"]["version"]

    assert {_container(one)["image"] for one in WORKLOADS.values()} == {"handoff-guard"}
    assert [(one["name"], one["newTag"]) for one in KUSTOMIZATION["images"]] == [("handoff-guard", version)]
    assert COMPOSE["x-guard"]["image"] == f"handoff-guard:{version}"


def test_the_settings_of_kubernetes_are_settings() -> None:
    """Each name of the ConfigMap and of the containers; the files that they name are mounted there."""
    given = _of_kind("ConfigMap")["guard-settings"]["data"]
    named = [one["name"] for workload in WORKLOADS.values() for one in _container(workload).get("env", [])]
    files = _of_kind("ConfigMap")["guard-files"]["data"]

    assert _unknown([*given, *named]) == []
    assert {Path(given[name]).name for name in ("GUARD_POLICY_FILE", "GUARD_AGENCIES_FILE")} == files.keys()
    for workload in WORKLOADS.values():
        mounts = {one["mountPath"] for one in _container(workload)["volumeMounts"]}
        assert {str(Path(given["GUARD_POLICY_FILE"]).parent), "/tmp"} == mounts  # noqa: S108 # A pod's own.


def test_selectors_find_their_pods() -> None:
    """Each Service, budget and policy is of pods that there are, by a port that they open."""
    pods = [one["spec"]["template"]["metadata"]["labels"] for one in WORKLOADS.values()]
    chosen = [one["spec"]["selector"] for one in _of_kind("Service").values()]
    chosen += [one["spec"]["selector"]["matchLabels"] for one in _of_kind("PodDisruptionBudget").values()]
    chosen += [one["spec"]["podSelector"]["matchLabels"] for one in _of_kind("NetworkPolicy").values()]
    ports = {port["name"] for one in ROLES.values() for port in _container(one)["ports"]}
    opened = {port["targetPort"] for one in _of_kind("Service").values() for port in one["spec"]["ports"]}
    allowed = {
        port["port"]
        for one in _of_kind("NetworkPolicy").values()
        for rule in one["spec"]["ingress"]
        for port in rule["ports"]
    }

    assert [one for one in chosen if not any(one.items() <= labels.items() for labels in pods)] == []
    assert (opened, allowed) == (ports, ports)
    assert _of_kind("PodDisruptionBudget").keys() == {role for role in EVERY_ROLE if _replicas(role) > 1}


def _replicas(role: str) -> int:
    return int(ROLES[role]["spec"]["replicas"])


def test_compose_runs_every_role_after_the_migration() -> None:
    """With commands and settings that there are, by the image that is built here."""
    ours = {name: one for name, one in COMPOSE["services"].items() if one["image"] == COMPOSE["x-guard"]["image"]}
    settings = [name for one in ours.values() for name in one["environment"]]

    assert ours.keys() == {*EVERY_ROLE, "migrate", "topics", "doctor"}
    assert [one["command"] for one in ours.values() if not _is_command(one["command"])] == []
    assert _unknown(settings) == []
    for role in EVERY_ROLE:
        assert ours[role]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
        assert ours[role]["environment"]["GUARD_METRICS_PORT"] == str(OPS_PORT)
        assert ours[role]["read_only"] is True
        assert float(ours[role]["stop_grace_period"].rstrip("s")) > STOP_DEADLINE_SECONDS


def test_prometheus_scrapes_every_role() -> None:
    """The names of Compose, at the port of the settings, with the rules that lie beside it."""
    read = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (job,) = read["scrape_configs"]
    (found,) = job["dns_sd_configs"]

    assert (sorted(found["names"]), found["port"]) == (sorted(EVERY_ROLE), OPS_PORT)
    assert [name for name in read["rule_files"] if not (DEPLOY / "prometheus" / name).is_file()] == []


def test_the_image_is_made_of_what_is_locked_and_runs_as_nobody() -> None:
    """By hashes, without the extras, by a user that is a number; its settings are settings."""
    text = pages.page("deploy/Dockerfile")
    installs = re.findall(r"pip install (.*)", text)

    assert [one for one in installs if "--require-hashes" not in one and "--no-deps" not in one] == []
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["10001:10001"]
    assert _unknown(re.findall(r"GUARD_\w+", text)) == []
    assert f"GUARD_METRICS_PORT={OPS_PORT}" in text
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    assert [name for line in copied for name in line.split() if not (pages.ROOT / name).exists()] == []
    ignored = pages.page("deploy/Dockerfile.dockerignore").splitlines()
    assert [name for line in copied for name in line.split() if f"!{name}" not in ignored] == []


def test_every_file_of_the_product_is_in_its_package() -> None:
    """An installed guard has its pages, words and lists too, and not only a checkout of it."""
    data: dict[str, list[str]] = tomllib.loads(pages.page("pyproject.toml"))["tool"]["setuptools"]["package-data"]
    patterns = [f"{package.replace('.', '/')}/{glob}" for package, globs in data.items() for glob in globs]
    files = [file for folder in pages.PRODUCT for file in pages.files(folder) if not file.endswith(".py")]

    assert [file for file in files if not any(fnmatch(file, pattern) for pattern in patterns)] == []
