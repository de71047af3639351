"""cluster.yaml by Ray's own check, and rayjob.yaml by hand: no definition of KubeRay's objects is at hand."""

import re

import pytest
import yaml
from compose import FOLDER, ROOT

pytestmark = pytest.mark.ray
SECRET = re.compile(r"://[^/@\s]*:[^/@\s]*@|password|RAY_AUTH_TOKEN=", re.IGNORECASE)


def read(name):
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def options(command):
    """The options of `ray start` or of lrsearch in a command line."""
    return {word.partition("=")[0] for word in command.split() if word.startswith("--")}


def known(command):
    """The options that a command has."""
    return {option for parameter in command.params for option in parameter.opts}


@pytest.fixture(scope="module")
def start():
    from ray.scripts.scripts import start

    return known(start)


@pytest.fixture(scope="module")
def sweep():
    import typer

    from lrsearch.cli.main import app

    return known(typer.main.get_command(app).commands["sweep"])


def test_ray_itself_takes_the_file_of_the_launcher():
    """Filled in and checked as `ray up` does it, with one machine for the head and two workers."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(read("cluster.yaml"))
    validate_config(config)
    assert config["max_workers"] == len(config["provider"]["worker_ips"]) == 2


def test_ray_refuses_a_file_of_the_launcher_with_an_unknown_key():
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(ValidationError, match="head_start_commands"):
        validate_config(prepare_config(read("cluster.yaml") | {"head_start_commands": []}))


def test_the_launcher_starts_ray_with_a_token_and_no_dashboard(start):
    config = read("cluster.yaml")
    for kind in ("head", "worker"):
        stop, command = config[f"{kind}_start_ray_commands"]
        assert stop == "ray stop"
        assert "RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0" in command
        assert options(command) <= start
    assert "--include-dashboard=false" in config["head_start_ray_commands"][1]
    assert "~/.ray/auth_token" in config["file_mounts"]


def containers(job):
    """All containers of a RayJob: (the specification of their pod, container)."""
    cluster = job["spec"]["rayClusterSpec"]
    pods = [group["template"]["spec"] for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]]
    return [(pod, one) for pod in pods for one in [*pod.get("initContainers", []), *pod["containers"]]]


def test_the_job_has_the_fields_of_a_rayjob(start, sweep):
    job = read("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert set(job) == {"apiVersion", "kind", "metadata", "spec"}
    spec = job["spec"]
    assert set(spec) == {
        *("entrypoint", "submissionMode", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished"),
        *("activeDeadlineSeconds", "rayClusterSpec"),
    }
    assert options(spec["entrypoint"]) <= sweep
    cluster = spec["rayClusterSpec"]
    assert set(cluster) == {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}
    assert cluster["authOptions"] == {"mode": "token"}
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert {f"--{name}" for name in group["rayStartParams"]} <= start
    assert {f"--{name}" for name in cluster["headGroupSpec"]["rayStartParams"]} <= start


def test_the_job_names_the_version_of_ray_that_the_image_has():
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert read("rayjob.yaml")["spec"]["rayClusterSpec"]["rayVersion"] == pinned[1]


def test_no_container_of_the_job_is_root_or_has_no_limit():
    found = containers(read("rayjob.yaml"))
    assert [one["name"] for _, one in found] == ["passfile", "ray-head", "ray-worker"]
    for pod, one in found:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["automountServiceAccountToken"] is False
        assert one["securityContext"]["allowPrivilegeEscalation"] is False
        assert one["securityContext"]["readOnlyRootFilesystem"] is True
        assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert set(one["resources"]["limits"]) >= {"cpu", "memory"}
        assert {mount["name"] for mount in one["volumeMounts"]} <= {volume["name"] for volume in pod["volumes"]}


def test_only_the_head_of_the_job_has_the_password():
    """As a file; no environment holds it, and no worker mounts it."""
    found = {one["name"]: one for _, one in containers(read("rayjob.yaml"))}
    assert {"name": "PGPASSFILE", "value": "/passfile/passfile"} in found["ray-head"]["env"]
    assert all(set(pair) == {"name", "value"} for one in found.values() for pair in one.get("env", []))
    assert not any("pass" in mount["name"] for mount in found["ray-worker"]["volumeMounts"])


@pytest.mark.parametrize("name", ["cluster.yaml", "rayjob.yaml"])
def test_no_file_holds_a_secret(name):
    lines = [line for line in (FOLDER / name).read_text().splitlines() if not line.lstrip().startswith("#")]
    assert not [line for line in lines if SECRET.search(line)]
