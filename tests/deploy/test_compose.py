"""The compose file, the image and the dashboard name what is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from cli.main import app
from localnet.parts import TEMPORAL_FLAGS
from settings import Settings, load_settings
from settings.source import environment_names

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "temporal-compose.yml").read_text())
OURS = ("migrate", "worker", "api", "tools")


def default_of(text: str) -> str:
    """What compose makes of `${NAME:-default}` where NAME is not set."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", text)


@pytest.mark.parametrize("service", OURS)
def test_every_variable_of_our_services_is_a_setting(service: str) -> None:
    known = {name for key, field in Settings.model_fields.items() for name in environment_names(key, field)}
    assert set(COMPOSE["services"][service]["environment"]) <= known


@pytest.mark.parametrize("service", OURS)
def test_our_services_start_with_these_variables(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in COMPOSE["services"][service]["environment"].items():
        monkeypatch.setenv(name, default_of(value))
    settings = load_settings(None)
    assert not settings.starts_postgres
    assert not settings.starts_temporal


def test_our_services_run_commands_that_exist() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for service in OURS:
        command = COMPOSE["services"][service]["command"]
        match command:
            case ["python", "-m", package]:
                assert (ROOT / package / "__main__.py").is_file(), service
            case ["holdfast", name] | [name]:
                assert name in commands, service


def test_our_services_have_no_privileges() -> None:
    for service in OURS:
        assert COMPOSE["services"][service]["read_only"] is True
        assert COMPOSE["services"][service]["cap_drop"] == ["ALL"]
    assert "USER 10001:10001" in (ROOT / "Dockerfile").read_text()


def test_every_port_is_bound_to_this_machine_only() -> None:
    for name, service in COMPOSE["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name


def test_every_mounted_file_is_there() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            if volume.startswith("./"):
                assert (ROOT / volume.partition(":")[0]).is_file(), volume


def test_images_are_pinned() -> None:
    for name, service in COMPOSE["services"].items():
        tag = default_of(service["image"]).partition(":")[2]
        # quickstart's tags are made anew for each protocol; `latest` is the network of today.
        assert tag
        assert tag != "latest" or name == "quickstart"


def test_the_image_has_every_package_and_nothing_that_ignores_it() -> None:
    docker, ignored = (ROOT / "Dockerfile").read_text(), (ROOT / ".dockerignore").read_text()
    packages = re.search(r"^packages = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert packages is not None
    for package in re.findall(r'"(\w+)"', packages[1]):
        assert f"COPY {package} {package}" in docker
        assert f"!{package}\n" in ignored


def test_the_real_server_has_the_flags_of_the_local_one() -> None:
    dynamic = yaml.safe_load((ROOT / "deploy" / "temporal-dynamic.yaml").read_text())
    local = dict(flag.split("=", 1) for flag in TEMPORAL_FLAGS)
    for key, (entry,) in dynamic.items():
        assert json.loads(local[key]) == entry["value"]


def test_prometheus_asks_ports_that_our_settings_have() -> None:
    settings = load_settings(None)
    jobs = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())["scrape_configs"]
    ports = {job["job_name"]: job["dns_sd_configs"][0]["port"] for job in jobs if "dns_sd_configs" in job}
    assert ports == {"worker": settings.metrics_port, "temporal-sdk": settings.temporal_metrics_port}


def test_the_dashboards_panels_all_ask_something() -> None:
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "holdfast.json").read_text())
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in dashboard["panels"]:
        assert all(target["expr"] for target in panel["targets"]), panel["title"]


def test_the_dashboard_asks_for_metrics_that_the_code_has() -> None:
    dashboard = (ROOT / "deploy" / "grafana" / "holdfast.json").read_text()
    code = "".join(path.read_text() for room in ("api", "workers") for path in (ROOT / room).rglob("*.py"))
    for metric in set(re.findall(r"holdfast_[a-z_]+", dashboard)):
        assert f'"{re.sub(r"_(total|bucket|sum|count)$", "", metric)}"' in code, metric


@pytest.mark.parametrize("script", [*sorted((ROOT / "deploy").glob("*.sh")), ROOT / ".ci" / "run"])
def test_scripts_are_executable_and_parse(script: Path) -> None:
    assert script.stat().st_mode & 0o111
    shell = shutil.which("bash") if script.name == "run" else shutil.which("sh")
    assert shell is not None
    subprocess.run([shell, "-n", str(script)], check=True)


def test_docker_compose_accepts_the_file() -> None:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("there is no docker compose here")
    subprocess.run(["docker", "compose", "-f", "temporal-compose.yml", "config", "--quiet"], cwd=ROOT, check=True)
