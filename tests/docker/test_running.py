"""The services of compose.yaml, run without Docker by the commands that stand in it: see containers.py."""

import json
import subprocess
from pathlib import Path

import pytest
from compose import FOLDER, compose
from containers import Container, Machine, until
from namespaces import can_isolate
from secrecy import files, processes

pytestmark = [
    pytest.mark.adapters,
    pytest.mark.ray,
    pytest.mark.skipif(not can_isolate(), reason="only root can make namespaces and mounts"),
]
SMALL = {"LRSEARCH_TASK": "digits-mlp", "LRSEARCH_BUDGET": "4", "LRSEARCH_CPUS": "1"}
STORE = "postgresql+psycopg://lrsearch@db/lrsearch"
STUDIES = """
from pathlib import Path
from urllib.request import Request, urlopen
token = Path("/run/secrets/dashboard_token").read_text().strip()
request = Request("http://127.0.0.1:8080/api/studies", headers={"Authorization": f"Bearer {token}"})
print(urlopen(request).read().decode())
"""
"""Prints the studies that the dashboard shows."""


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A machine on which the database, the head and two workers run."""
    folder = tmp_path_factory.mktemp("machine")
    subprocess.run(["sh", FOLDER / "secrets.sh", folder / "secrets"], check=True)
    machine = Machine(folder, compose(**SMALL), folder / "secrets")
    try:
        for service, number in (("db", 1), ("head", 1), ("worker", 1), ("worker", 2)):
            start(machine, service, number)
        yield machine
    finally:
        machine.close()


@pytest.fixture(scope="module")
def password(machine):
    return (machine.secrets / "db_password").read_text().strip()


def start(machine: Machine, service: str, number: int = 1) -> Container:
    """Start a container, and wait until its own health check says that it is healthy."""
    container = machine.start(service, number)
    first, *check = machine.file["services"][service]["healthcheck"]["test"]
    assert first == "CMD"
    assert until(container.process, lambda: container.run(*check).returncode == 0), container.printed()
    return container


def places(machine: Machine) -> list[Path]:
    """All that containers write: volumes, what they print, and their temporary folders."""
    inside = [
        Path(f"/proc/{container.pid}/root{container.root}", name)
        for container in machine.containers.values()
        if container.process.poll() is None
        for name in ("tmp", "dev/shm")
    ]
    return [machine.folder / "volumes", machine.folder / "logs", *inside]


def finished(container: Container) -> dict[str, object]:
    """The finished runs of the store by their keys, as a container that has the password reads them."""
    answer = container.run("lrsearch", "store", "runs", "--store", STORE, "--json", "--state", "finished")
    assert answer.returncode == 0, answer.stderr
    return {run["key"]: run for run in json.loads(answer.stdout)}


def test_a_container_is_confined(machine):
    """It is not root and has no capability; it writes to its own folders, and sees only its own processes."""
    worker = machine.containers["worker-1"]
    status = dict(
        line.split(":\t") for line in worker.run("cat", "/proc/self/status").stdout.splitlines() if ":\t" in line
    )
    assert status["Uid"].split() == ["10001"] * 4
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    written = {name: worker.run("touch", f"/{name}/x").returncode == 0 for name in ("", "app", "etc", "tmp", "runs")}
    assert written == {"": False, "app": False, "etc": False, "tmp": True, "runs": True}
    assert "postgres" not in worker.run("ps", "-eo", "args").stdout


def test_a_worker_reaches_the_head_and_not_the_database(machine):
    program = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3)"
    worker = machine.containers["worker-1"]
    reached = {
        port: worker.run("python", "-c", program, address, str(port)).returncode == 0
        for address, port in (("head", 6379), (machine.address("db-1", "database"), 5432))
    }
    assert reached == {6379: True, 5432: False}


def test_the_cluster_wants_its_token(machine):
    worker = machine.containers["worker-1"]
    check = ["timeout", "20", "ray", "health-check", "--address=head:6379"]
    assert worker.run(*check).returncode == 0
    for other in ({"RAY_AUTH_TOKEN_PATH": "/etc/passwd"}, {"RAY_AUTH_MODE": "disabled"}):
        assert worker.run(*check, **other).returncode != 0


def test_the_database_has_one_role_that_can_log_in(machine, password):
    """It owns its own database alone. Neither the superuser nor a wrong password is let in."""
    db = machine.containers["db-1"]

    def asks(
        user: str, database: str, query: str = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user", **more: str
    ):
        url = f"host=127.0.0.1 user={user} dbname={database}"
        return db.run("psql", "--no-password", "--tuples-only", "--no-align", "--command", query, url, **more)

    assert asks("lrsearch", "lrsearch", PGPASSWORD=password).stdout == "f\n"
    assert "password authentication failed" in asks("lrsearch", "lrsearch", PGPASSWORD="wrong").stderr
    assert "no pg_hba.conf entry" in asks("postgres", "postgres", PGPASSWORD=password).stderr


def test_a_sweep_goes_on_after_a_worker_and_its_own_container_are_killed(machine, password):
    """No finished run is trained twice, the dashboard shows the study, and the password is nowhere."""
    pytest.importorskip("waitress", reason="the dashboard's server, which the image has")
    leaks: set[str] = set()

    def has_printed(text: str) -> bool:
        leaks.update(processes(password))
        return text in sweep.printed()

    sweep = machine.start("sweep")
    assert until(sweep.process, lambda: has_printed("range-test")), sweep.printed()
    machine.containers["worker-1"].kill()
    start(machine, "worker", 1)
    assert until(sweep.process, lambda: has_printed("default")), sweep.printed()
    sweep.kill()  # at once, while runs are left
    leaks.update(files(places(machine), password))

    dashboard = start(machine, "dashboard")
    before = finished(dashboard)
    assert before
    sweep = machine.start("sweep")
    until(sweep.process, lambda: has_printed("use it"))
    assert sweep.process.wait() == 0, sweep.printed()
    after = finished(dashboard)
    assert len(after) > len(before)
    assert {key: after[key] for key in before} == before

    answer = dashboard.run("python", "-c", STUDIES)
    (study,) = json.loads(answer.stdout)["study_summaries"]
    assert study["study_name"].startswith("digits-mlp-")
    leaks.update(processes(password), files(places(machine), password))
    assert leaks == set()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"LRSEARCH_TASK": "digits-mpl"}, "digits-mlp"),
        ({"LRSEARCH_BUDGET": "-1"}, "budget"),
        ({"LRSEARCH_BUDGET": "much"}, "budget"),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)
def test_a_wrong_argument_ends_with_exit_code_2_and_no_password(machine, password, variables, words):
    leaks: set[str] = set()
    machine.file, right = compose(**SMALL | variables), machine.file
    try:
        sweep = machine.start("sweep")
        until(sweep.process, lambda: leaks.update(processes(password)))
        assert sweep.process.wait() == 2
    finally:
        machine.file = right
    assert words in sweep.printed()
    leaks.update(files(places(machine), password))
    assert leaks == set()


def test_a_wrong_password_is_said_and_not_shown(machine, password, tmp_path):
    for name in ("ray_token", "passfile"):
        (tmp_path / name).write_bytes((machine.secrets / name).read_bytes())
    wrong = "not-the-password"
    (tmp_path / "passfile").write_text(f"db:5432:lrsearch:lrsearch:{wrong}\n")
    for path in tmp_path.iterdir():
        path.chmod(0o400)
        subprocess.run(["chown", "10001:10001", path], check=True)
    machine.secrets, right = tmp_path, machine.secrets
    try:
        sweep = machine.start("sweep")
        assert sweep.process.wait() == 1
    finally:
        machine.secrets = right
    assert "password authentication failed" in sweep.printed()
    assert files(places(machine), wrong) == []


def test_secrets_are_made_once(tmp_path):
    """What a database keeps is not overwritten. Each file is for its owner alone, and no two are the same."""
    made = ["sh", FOLDER / "secrets.sh", tmp_path / "secrets"]
    assert subprocess.run(made, check=False).returncode == 0
    texts = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    again = subprocess.run(made, check=False, capture_output=True, text=True)
    assert again.returncode == 2
    assert "is there already" in again.stderr
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == texts
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "secrets").iterdir()} == {0o400}
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o711
    assert len({texts["db_password"], texts["ray_token"], texts["dashboard_token"]}) == 3
    assert texts["passfile"].strip().endswith(f":{texts['db_password'].strip()}")
