"""What can be checked of the containers without a Docker daemon."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
PUBLISHED = re.compile(r"^127\.0\.0\.1:\d+:\d+$")


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))


def instructions():
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    return [tuple(line.split(maxsplit=1)) for line in lines if line and not line.startswith("#")]


def test_every_service_is_hardened(compose):
    assert set(compose["services"]) == {"db", "search", "dashboard"}
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service.get("user") != "root", name
        assert not service.get("privileged"), name


def test_ports_are_open_on_this_machine_only(compose):
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert len(published) == 1
    assert all(PUBLISHED.match(port) for port in published)
    assert compose["networks"]["inside"]["internal"] is True
    assert compose["services"]["db"]["networks"] == ["inside"]


def test_there_is_no_default_secret(compose):
    """Secrets come from files alone; no address holds a password, and used secrets, networks, volumes are declared."""
    text = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    assert not re.search(r"://[^/@\s]*:[^/@\s]*@", text)
    assert not re.search(r"PASSWORD:|TOKEN:", text)
    for name, service in compose["services"].items():
        assert set(service["secrets"]) <= set(compose["secrets"]), name
        assert set(service["networks"]) <= set(compose["networks"]), name
        assert {volume.partition(":")[0] for volume in service.get("volumes", [])} <= set(compose["volumes"]), name
        used = set(re.findall(r"/run/secrets/(\w+)", str(service)))
        assert used == set(service["secrets"]), name
    assert all(set(secret) == {"file"} for secret in compose["secrets"].values())


def test_the_dashboard_runs_the_guarded_app(compose):
    service = compose["services"]["dashboard"]
    assert "wsgi:application" in service["command"]
    assert service["environment"]["PYTHONPATH"] == "/app/dashboards"
    source = (ROOT / "dashboards" / "wsgi.py").read_text(encoding="utf-8")
    assert all(name in source for name in service["environment"] if name.startswith("LRSEARCH"))


def test_the_dashboard_in_the_container_closes_half_open_connections_and_caps_them(compose):
    service = compose["services"]["dashboard"]
    limits = dict(word.removeprefix("--").split("=") for word in service["command"] if word.startswith("--"))
    assert "waitress-serve" in service["entrypoint"]
    assert 0 < int(limits["channel-timeout"]) <= 30
    assert 0 < int(limits["connection-limit"]) <= 100


def test_the_search_uses_options_that_the_command_has(compose):
    import typer

    from lrsearch.cli.main import app

    command = typer.main.get_command(app).commands["search"]
    known = {option for parameter in command.params for option in parameter.opts}
    _, task, *options = compose["services"]["search"]["command"]
    assert task == "${LRSEARCH_TASK:-digits-cnn}"
    assert {option.partition("=")[0] for option in options} <= known


def test_the_image_is_not_root_and_runs_the_command():
    found = instructions()
    names = [name for name, _ in found]
    assert found[0] == ("FROM", "python:3.12-slim")
    assert set(names) <= {"FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "ENTRYPOINT", "CMD"}
    user = dict(found)["USER"]
    assert user.split(":")[0].isdigit()
    assert int(user.split(":")[0]) > 0
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")
    assert dict(found)["ENTRYPOINT"] == '["lrsearch"]'


def test_the_image_installs_what_is_pinned():
    run = " ".join(rest for name, rest in instructions() if name == "RUN")
    assert "--constraint constraints.txt" in run
    assert "://" not in (DOCKER / "Dockerfile").read_text(encoding="utf-8")


def test_all_that_is_copied_is_there():
    copied = [source for name, rest in instructions() if name == "COPY" for source in rest.split()[:-1]]
    missing = [source for source in copied if not (ROOT / source).exists()]
    assert missing == []
