"""What is deployed is right, as far as that can be known without a daemon: schemas, commands, what belongs together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import jsonschema_rs
import pytest
from ruamel.yaml import YAML

from mock_openai.cli import parser as mock_parser
from streambench.cli.locust import command as locust_command
from streambench.load.loading import load_scenario

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


def documents(path: Path) -> list[dict[str, Any]]:
    return [dict(document) for document in YAML(typ="safe").load_all(path.read_text())]


def manifests() -> Iterator[dict[str, Any]]:
    for path in KUBERNETES:
        if path.name != "kustomization.yaml":
            yield from documents(path)


def compose() -> dict[str, Any]:
    (document,) = documents(DEPLOY / "compose.yaml")
    return document


def pods() -> dict[str, dict[str, Any]]:
    return {
        one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in manifests() if one["kind"] == "Deployment"
    }


def commands() -> dict[str, list[str]]:
    """Every command line, by where it stands."""
    out = {f"compose {name}": service["command"] for name, service in compose()["services"].items()}
    for name, pod in pods().items():
        out[f"kubernetes {name}"] = pod["containers"][0]["args"]
    return out


def test_the_compose_file_is_one() -> None:
    pytest.importorskip("check_jsonschema", reason="pip install check-jsonschema")
    schema = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
    jsonschema_rs.validator_for(schema).validate(compose())


@pytest.mark.parametrize("manifest", list(manifests()), ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_each_manifest_is_one(manifest: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    validate.validate(manifest, validate.latest_version(), strict=True)


def test_kustomize_finds_every_file() -> None:
    (kustomization,) = documents(DEPLOY / "kubernetes/kustomization.yaml")
    assert sorted(kustomization["resources"]) == [path.name for path in KUBERNETES if path.name != "kustomization.yaml"]
    for file in kustomization["configMapGenerator"][0]["files"]:
        assert (DEPLOY / "kubernetes" / file.partition("=")[2]).is_file()


@pytest.mark.parametrize("where", commands())
def test_each_command_line_is_understood(where: str) -> None:
    name, *arguments = [re.sub(r"\$[({].*[)}]", "word", word) for word in commands()[where]]
    if name == "mock":
        mock_parser().parse_args(arguments)
    else:
        assert name == "locust"
        with click.Context(locust_command) as context:
            locust_command.parse_args(context, arguments)


def test_the_scenario_is_one() -> None:
    scenario = load_scenario(str(DEPLOY / "scenario.yaml"), environ={"ADMIN_TOKEN": "a-token"})
    assert scenario.targets[0].two_sided
    services = {one["metadata"]["name"] for one in manifests() if one["kind"] == "Service"}
    assert scenario.targets[0].upstream == "http://upstream:4010"
    assert {"upstream", "master"} <= services & set(compose()["services"])


@pytest.mark.parametrize("name", ["upstream", "master", "worker"])
def test_no_container_may_more_than_it_must(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    pod = pods()[name]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    (container,) = pod["containers"]
    allowed = container["securityContext"]
    assert allowed["readOnlyRootFilesystem"]
    assert not allowed["allowPrivilegeEscalation"]
    assert allowed["capabilities"] == {"drop": ["ALL"]}
    assert not any("value" in variable for variable in container.get("env", []))  # secrets are references


def test_the_image_holds_what_the_build_needs() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (DEPLOY / "Containerfile").read_text(), re.M)
    sources = [source for line in copied for source in line.split()]
    assert all((ROOT / source).exists() for source in sources)
    build = (ROOT / "pyproject.toml").read_text()
    assert {"harness", "mock_openai", "scenarios", "pyproject.toml", "README.md"} <= set(sources)
    assert '"scenarios" = "streambench/scenarios"' in build
