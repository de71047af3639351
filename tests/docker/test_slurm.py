"""The scripts for Slurm, with nodes in namespaces: see containers.py. `srun` and `scontrol` are of this test."""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from compose import FOLDER, compose
from containers import Machine, child, until
from namespaces import can_isolate

SCRIPTS = ("slurm-ray.sh", "slurm-array.sh")
on_nodes = pytest.mark.skipif(not can_isolate(), reason="only root can make namespaces and mounts")
STORE = "postgresql+psycopg://lrsearch@db/lrsearch"
NODE = {
    "entrypoint": ["sleep", "infinity"],
    "networks": ["nodes"],
    "volumes": ["home:/home"],
    "tmpfs": ["/tmp"],  # noqa: S108
    "shm_size": "512m",
    "environment": {"HOME": "/home"},
}
SRUN = """#!/bin/bash
for word in "$@"; do printf '%s\\0' "$word"; done > ~/step.new
env -0 > ~/step.environment
rm -f ~/step.code
mkfifo ~/step.code
mv ~/step.new ~/step
read -r code < ~/step.code
exit "$code"
"""
"""Leaves its command for the test, which runs it on each node."""
SCONTROL = """#!/bin/bash
case "$1" in
    show) printf '%s\\n' n1 n2 ;;
    requeue) echo "$2" >> ~/requeued ;;
esac
"""
JOB = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURM_NNODES": "2",
    "SLURM_CPUS_PER_TASK": "1",
    "SLURM_ARRAY_JOB_ID": "4711",
}


def directives(script: str) -> dict[str, str]:
    """The options of a script for sbatch."""
    lines = [
        line.split(maxsplit=1)[1] for line in (FOLDER / script).read_text().splitlines() if line.startswith("#SBATCH ")
    ]
    return {name: value for name, _, value in (line.removeprefix("--").partition("=") for line in lines)}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_told_of_its_time_limit_and_may_queue_again(script):
    """Only the script itself gets the signal, well before the time limit."""
    options = directives(script)
    assert options["signal"] == "B:USR1@120"
    assert "requeue" in options
    assert "time" in options


@pytest.mark.parametrize("script", [*SCRIPTS, "secrets.sh", "database.sh"])
def test_a_script_is_right_in_form(script):
    shell = (FOLDER / script).read_text().splitlines()[0].removeprefix("#!")
    subprocess.run([shell, "-n", FOLDER / script], check=True)
    if checker := shutil.which("shellcheck"):
        subprocess.run([checker, FOLDER / script], check=True)


class Cluster:
    """Two nodes that share a home folder, with a database beside them."""

    def __init__(self, folder: Path) -> None:
        subprocess.run(["sh", FOLDER / "secrets.sh", folder / "secrets"], check=True)
        given = compose()
        services = {"n1": NODE, "n2": NODE, "db": given["services"]["db"] | {"networks": ["nodes"]}}
        file = {"networks": {"nodes": {"internal": True}}, "services": services, "configs": given["configs"]}
        self.machine = Machine(folder, file, folder / "secrets")
        self.home = folder / "volumes" / "home"
        self.nodes = [self.machine.start(name) for name in ("n1", "n2")]
        (self.home / "bin").mkdir()
        for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
            (self.home / "bin" / name).write_text(text)
            (self.home / "bin" / name).chmod(0o755)

    def submit(self, script: str, *words: str, node: int = 0, **environment: str) -> subprocess.Popen[bytes]:
        """Start a script on a node, as Slurm does."""
        container = self.nodes[node]
        path = f"/home/bin:{container.environment['PATH']}"
        command = container.words(
            "env", "-C", "/home", "bash", f"/app/docker/{script}", *words, **JOB, PATH=path, **environment
        )
        with (self.home.parent / f"printed-{node}").open("ab") as output:
            return subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)

    def run_step(self, job: subprocess.Popen[bytes]) -> list[subprocess.Popen[bytes]]:
        """Run the command of a script's `srun` on each node, once it is there."""
        assert until(job, (self.home / "step").exists), self.printed()
        option, *command = (self.home / "step").read_text().split("\0")[:-1]
        assert option.startswith("--")
        pairs = dict(pair.split("=", 1) for pair in (self.home / "step.environment").read_text().split("\0")[:-1])
        given = {name: value for name, value in pairs.items() if name.startswith(("RAY_", "PATH", "SLURM_"))}
        (self.home / "step").unlink()
        processes = []
        for number, node in enumerate(self.nodes):
            with (self.home.parent / f"step-{number}").open("ab") as output:
                words = node.words("env", "-C", "/home", *command, **given)
                processes.append(subprocess.Popen(words, stdout=output, stderr=output, stdin=subprocess.DEVNULL))
        return processes

    def end_step(self, processes: list[subprocess.Popen[bytes]]) -> None:
        """Tell `srun` the highest exit code, as Slurm does."""
        (self.home / "step.code").write_text(f"{max(process.wait() for process in processes)}\n")

    def printed(self, kind: str = "printed", number: int = 0) -> str:
        return (self.home.parent / f"{kind}-{number}").read_text(errors="replace")


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.machine.close()


@on_nodes
@pytest.mark.adapters
@pytest.mark.ray
def test_a_sweep_over_the_nodes_of_a_job_is_given_back_before_the_time_limit_and_goes_on(cluster):
    """Ray starts on both nodes with a token of the job's own, which is gone at the end."""
    command = ("slurm-ray.sh", "digits-mlp", "--budget", "4", "--out", "/home/out")
    job = cluster.submit(*command)
    step = cluster.run_step(job)
    assert until(step[0], lambda: "default" in cluster.printed("step")), cluster.printed("step")
    os.kill(child(job), signal.SIGUSR1)
    cluster.end_step(step)
    assert job.wait() == 130
    assert (cluster.home / "requeued").read_text().split() == ["4711"]
    assert "the same command goes on from there" in cluster.printed("step")

    job = cluster.submit(*command)
    step = cluster.run_step(job)
    cluster.end_step(step)
    assert job.wait() == 0, cluster.printed("step")
    assert "2 nodes" in cluster.printed("step")
    assert (cluster.home / "requeued").read_text().split() == ["4711"]
    assert not list(cluster.home.glob(".lrsearch-ray*"))


@on_nodes
@pytest.mark.adapters
@pytest.mark.ray
def test_a_wrong_argument_of_a_job_is_its_exit_code_and_does_not_queue_again(cluster):
    job = cluster.submit("slurm-ray.sh", "digits-mpl", "--out", "/home/out")
    step = cluster.run_step(job)
    cluster.end_step(step)
    assert job.wait() == 2
    assert "digits-mlp" in cluster.printed("step")
    assert not (cluster.home / "requeued").exists()


@on_nodes
@pytest.mark.adapters
def test_tasks_of_an_array_share_a_study_and_go_on_after_the_time_limit(cluster):
    """They start at once on a new database. The budget is a cap on both, and both have one answer."""
    db = cluster.machine.start("db")
    assert until(db.process, lambda: db.run("pg_isready", "--host=127.0.0.1").returncode == 0), db.printed()
    shutil.copy2(cluster.machine.secrets / "passfile", cluster.home / ".pgpass")
    os.chown(cluster.home / ".pgpass", 10001, 10001)
    _, second = cluster.nodes

    def submit(number: int) -> subprocess.Popen[bytes]:
        words = ("slurm-array.sh", "digits-mlp", "--budget", "8", "--store", STORE)
        return cluster.submit(*words, node=number, SLURM_ARRAY_TASK_ID=str(number + 1))

    tasks = [submit(number) for number in range(2)]
    assert until(tasks[0], lambda: " FRE  " in cluster.printed()), cluster.printed()
    os.kill(child(tasks[0]), signal.SIGUSR1)
    assert tasks[0].wait() == 130, cluster.printed()
    assert (cluster.home / "requeued").read_text().split() == ["4711_1"]

    tasks[0] = submit(0)
    assert [task.wait() for task in tasks] == [0, 0], cluster.printed() + cluster.printed(number=1)
    assert (cluster.home / "requeued").read_text().split() == ["4711_1"]
    answers = {re.search(r"^policy = .*", cluster.printed(number=number), re.MULTILINE)[0] for number in range(2)}
    assert len(answers) == 1
    shown = [second.run("lrsearch", "store", kind, "--store", STORE, "--json") for kind in ("studies", "runs")]
    studies, runs = (json.loads(one.stdout) for one in shown)
    assert len(studies) == 1
    assert sum(run["cost"]["steps"] for run in runs) <= 8 * 1280
