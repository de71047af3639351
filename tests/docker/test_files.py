"""The image's recipe and compose.yaml, as far as they can be read: see test_running.py for what runs."""

import fnmatch
import re
from importlib.metadata import requires

import pytest
import yaml
from compose import FOLDER, ROOT, compose, instructions, size
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

RAY_TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/run/secrets/ray_token"}
PUBLISHED = re.compile(r"^127\.0\.0\.1:\d+:\d+$")
SERVICES = {"db", "head", "worker", "sweep", "dashboard"}
TAG = re.compile(r"^(python:\d+\.\d+\.\d+|postgres:\d+\.\d+)(-[a-z-]+)?$")


@pytest.fixture(scope="module")
def services():
    return compose()["services"]


def test_every_service_is_hardened(services):
    assert set(services) == SERVICES
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service.get("user", "10001:10001").split(":")[0] != "0", name
        assert not service.get("privileged"), name


def test_every_service_has_a_health_check_limits_and_a_last_restart(services):
    for name, service in services.items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert float(service["cpus"]) > 0, name
        assert size(service["mem_limit"]) > 0, name
        assert service["pids_limit"] > 0, name
        policy, _, most = service["restart"].partition(":")
        assert policy == "on-failure", name
        assert 0 < int(most) <= 10, name


def test_ray_has_room_for_its_objects_and_files(services):
    """Docker's own 64 MiB of shared memory would send Ray's objects to a disk. All of it counts as memory."""
    for name in ("head", "worker", "sweep"):
        service = services[name]
        words = " ".join([*service["entrypoint"], *service["command"]])
        objects = int(re.search(r"--object-store-memory=(\d+)", words)[1])
        (temporary,) = service["tmpfs"]
        assert objects < size(service["shm_size"])
        assert size(service["shm_size"]) + size(temporary.partition("size=")[2]) < size(service["mem_limit"])


def test_ray_wants_a_token_and_shows_no_dashboard(services):
    for name in ("head", "worker", "sweep"):
        given = services[name]["environment"]
        assert RAY_TOKEN.items() <= given.items(), name
        assert "ports" not in services[name], name
    assert "--include-dashboard=false" in services["head"]["command"]


def test_ports_are_open_on_this_machine_only(services):
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert len(published) == 1
    assert all(PUBLISHED.match(port) for port in published)


def test_the_database_and_the_cluster_are_apart(services):
    networks = compose()["networks"]
    assert networks["database"]["internal"] is networks["cluster"]["internal"] is True
    assert {name for name in services if "database" in services[name]["networks"]} == {"db", "sweep", "dashboard"}
    assert {name for name in services if "cluster" in services[name]["networks"]} == {"head", "worker", "sweep"}
    assert services["db"]["networks"] == ["database"]


def test_there_is_no_default_secret(services):
    """Secrets come from files alone, and no address holds a password. What is used is declared."""
    text = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    file = compose()
    assert not re.search(r"://[^/@\s]*:[^/@\s]*@", text)
    assert not re.search(r"PASSWORD|TOKEN:", text)
    made = (FOLDER / "secrets.sh").read_text(encoding="utf-8")
    for name, service in services.items():
        assert set(service["secrets"]) <= set(file["secrets"]), name
        assert set(service["networks"]) <= set(file["networks"]), name
        assert {volume.partition(":")[0] for volume in service.get("volumes", [])} <= set(file["volumes"]), name
        used = set(re.findall(r"/run/secrets/(\w+)", str(service)))
        assert used <= set(service["secrets"]), name
    for name, secret in file["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
        assert re.search(rf'^write "\$\w+" {name} ', made, re.MULTILINE)


def test_each_secret_belongs_to_the_user_that_reads_it(services):
    made = (FOLDER / "secrets.sh").read_text(encoding="utf-8")
    users = dict(re.findall(r"^(database|image)=(\d+)", made, re.MULTILINE))
    owners = {name: users[owner] for owner, name in re.findall(r'^write "\$(\w+)" (\w+) ', made, re.MULTILINE)}
    readers = {
        (secret, service.get("user", dict(instructions())["USER"]).split(":")[0])
        for service in services.values()
        for secret in service["secrets"]
    }
    assert readers == set(owners.items())


def test_the_dashboard_runs_the_guarded_app(services):
    service = services["dashboard"]
    assert "wsgi:application" in service["command"]
    assert service["environment"]["PYTHONPATH"] == "/app/dashboards"
    source = (ROOT / "dashboards" / "wsgi.py").read_text(encoding="utf-8")
    assert all(name in source for name in service["environment"] if name.startswith("LRSEARCH"))


def test_the_dashboard_closes_half_open_connections_and_caps_them(services):
    service = services["dashboard"]
    limits = dict(word.removeprefix("--").split("=") for word in service["command"] if word.startswith("--"))
    assert service["entrypoint"] == ["python", "-m", "waitress"]
    assert 0 < int(limits["channel-timeout"]) <= 30
    assert 0 < int(limits["connection-limit"]) <= 100


def test_the_sweep_uses_options_that_the_command_has(services):
    import typer

    from lrsearch.cli.main import app

    command = typer.main.get_command(app).commands["sweep"]
    known = {option for parameter in command.params for option in parameter.opts}
    task, *options = services["sweep"]["command"]
    assert task == "digits-cnn"
    assert {option.partition("=")[0] for option in options} <= known


def test_the_image_is_not_root_and_runs_the_command():
    found = instructions()
    names = [name for name, _ in found]
    assert set(names) <= {"FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN", "USER", "ENTRYPOINT", "CMD"}
    assert names.count("FROM") == 1
    user = dict(found)["USER"]
    assert user.split(":")[0].isdigit()
    assert int(user.split(":")[0]) > 0
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")
    assert dict(found)["ENTRYPOINT"] == '["lrsearch"]'


def test_images_have_exact_tags(services):
    images = {service["image"] for service in services.values()} - {"lrsearch"}
    assert images
    assert all(TAG.match(image) for image in images | {dict(instructions())["FROM"]})


def test_the_image_installs_what_is_pinned():
    installed = [rest for name, rest in instructions() if name == "RUN" and "pip install" in rest]
    assert all("--constraint constraints.txt" in rest for rest in installed)
    assert "://" not in (FOLDER / "Dockerfile").read_text(encoding="utf-8")


def test_what_ray_needs_for_its_job_server_is_pinned():
    pinned = {canonicalize_name(line.partition("==")[0]) for line in (ROOT / "constraints.txt").read_text().split()}
    needed = [Requirement(text) for text in requires("ray")]
    named = [need.name for need in needed if need.marker is None or need.marker.evaluate({"extra": "default"})]
    assert "opencensus" in named
    assert {canonicalize_name(name) for name in named} <= pinned


def test_torch_comes_from_the_index_that_is_given():
    """Where none is given, from the usual one: the same line makes an image for CPUs and one for CUDA."""
    assert dict(instructions())["ARG"] == 'TORCH_INDEX=""'
    assert compose()["services"]["head"]["build"]["args"] == {"TORCH_INDEX": ""}
    given = compose(TORCH_INDEX="the index")["services"]["head"]["build"]["args"]
    assert given == {"TORCH_INDEX": "the index"}
    (line,) = [rest for name, rest in instructions() if name == "RUN" and "torchvision" in rest]
    assert '${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch torchvision' in line


def sources():
    return [source for name, rest in instructions() if name == "COPY" for source in rest.split()[:-1]]


def test_all_that_is_copied_is_there():
    assert [source for source in sources() if not (ROOT / source).exists()] == []


def test_the_build_is_sent_nothing_but_what_it_copies():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert kept == {source.removeprefix("./") for source in sources()}
    assert not any(fnmatch.fnmatch("docker/secrets/passfile", name) for name in kept)


def test_one_worker_has_all_gpus(services):
    """Two on one machine would both count them."""
    (worker,) = yaml.safe_load((FOLDER / "gpu.yaml").read_text())["services"].values()
    assert worker["deploy"]["replicas"] == 1
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert services["worker"]["deploy"] == {"replicas": 2}


def test_the_page_names_every_file():
    page = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    names = {path.name for path in FOLDER.iterdir() if path.is_file()} - {".gitignore", "README.md", "healthy.py"}
    assert {name for name in names if f"`{name}`" not in page} == set()
    assert {
        name for name in ("LRSEARCH_TASK", "LRSEARCH_BUDGET", "LRSEARCH_CPUS", "TORCH_INDEX") if name not in page
    } == set()
