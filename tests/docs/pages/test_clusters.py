"""docs/howto/clusters.md: the Slurm script and the MPIJob are right as text, and train with stand-ins for a cluster."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.distributed.small_trainings import environment
from tests.distributed.test_processes import MPIRUN, SETTINGS, needs_mpi, summary, train
from tests.docs.pages.cluster_programs import install
from tests.helpers.pages import blocks
from tests.helpers.small_runs import TEXT

PAGE = "docs/howto/clusters.md"
SLURM = next(text for language, text in blocks(PAGE) if text.startswith("#!/bin/bash"))
MPI_JOB: dict[str, Any] = next(yaml.safe_load(text) for language, text in blocks(PAGE) if language == "yaml")
ELSEWHERE = ("data.path", "trainer.gradient_accumulation_steps", "trainer.batch_size")  # in the page, or larger
TINY = " ".join([*(one for one in SETTINGS if not one.startswith(ELSEWHERE)), "trainer.batch_size=8"])

# Names of the fields of an MPIJob, with their kinds, as in v2beta1/types.go of github.com/kubeflow/mpi-operator.
# Of pods only what the page uses, from the API of Kubernetes 1.
TEXTS: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
QUANTITIES = {"type": "object", "additionalProperties": {"type": ["string", "integer"]}}


def an_object(required: str = "", **properties: Any) -> dict[str, Any]:
    """A schema of an object with no other properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


CONTAINER = an_object(
    "name image",
    name={"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
    image={"type": "string"},
    imagePullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
    securityContext=an_object(runAsUser={"type": "integer"}),
    command=TEXTS,
    args=TEXTS,
    env={"type": "array", "items": an_object("name", name={"type": "string"}, value={"type": "string"})},
    readinessProbe=an_object(
        tcpSocket=an_object("port", port={"type": "integer"}), initialDelaySeconds={"type": "integer"}
    ),
    volumeMounts={
        "type": "array",
        "items": an_object("name mountPath", name={"type": "string"}, mountPath={"type": "string"}),
    },
    resources=an_object(limits=QUANTITIES, requests=QUANTITIES),
)
POD = an_object(
    "containers",
    containers={"type": "array", "items": CONTAINER, "minItems": 1},
    volumes={
        "type": "array",
        "items": an_object(
            "name",
            name={"type": "string"},
            persistentVolumeClaim=an_object("claimName", claimName={"type": "string"}),
        ),
    },
)
REPLICAS = an_object(
    "template",
    replicas={"type": "integer", "minimum": 1},
    restartPolicy={"enum": ["Never", "OnFailure"]},
    template=an_object("spec", metadata={"type": "object"}, spec=POD),
)
SCHEMA = an_object(
    "apiVersion kind metadata spec",
    apiVersion={"const": "kubeflow.org/v2beta1"},
    kind={"const": "MPIJob"},
    metadata=an_object("name", name={"type": "string"}, namespace={"type": "string"}),
    spec=an_object(
        "mpiReplicaSpecs",
        slotsPerWorker={"type": "integer", "minimum": 1},
        runLauncherAsWorker={"type": "boolean"},
        mpiImplementation={"enum": ["OpenMPI", "Intel", "MPICH"]},
        sshAuthMountPath={"type": "string"},
        launcherCreationPolicy={"enum": ["AtStartup", "WaitForWorkersReady"]},
        runPolicy=an_object(
            cleanPodPolicy={"enum": ["All", "Running", "None"]},
            ttlSecondsAfterFinished={"type": "integer"},
            activeDeadlineSeconds={"type": "integer"},
            backoffLimit={"type": "integer"},
            suspend={"type": "boolean"},
            managedBy={"type": "string"},
            schedulingPolicy={"type": "object"},
        ),
        mpiReplicaSpecs=an_object("Launcher Worker", Launcher=REPLICAS, Worker=REPLICAS),
    ),
)


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A folder with the script, a text and the programs."""
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "train.slurm").write_text(SLURM)
    install(tmp_path / "bin")
    return tmp_path


def slurm(folder: Path, ranks: int, *more: str, job: int | None = None) -> subprocess.Popen[str]:
    variables = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "RUN": "run",
        "TEXT": "text.txt",
        "MORE": " ".join([TINY, *more]),
        "SLURM_NTASKS": str(ranks),
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_JOB_ID": str(job or os.getpid()),
        "REQUEUED": str(folder / "requeued"),
    }
    return subprocess.Popen(
        ["bash", "train.slurm"], cwd=folder, env=environment(**variables), stderr=subprocess.PIPE, text=True
    )


def test_the_slurm_script_is_one() -> None:
    checked = subprocess.run(["bash", "-n"], input=SLURM, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    first, *rest = SLURM.split("\n\n")[0].splitlines()
    assert first == "#!/bin/bash"
    options = [re.fullmatch(r"#SBATCH --([a-z-]+)(=\S+)?", line) for line in rest]
    assert all(options), "sbatch reads no further than the first line that is not one of its own"
    assert {option[1] for option in options if option} >= {"nodes", "ntasks-per-node", "signal", "requeue"}
    assert re.findall(r"accumulation_steps=(\d+)", SLURM) == ["8"]  # 2 nodes of 4 tasks


def test_the_mpi_job_has_the_fields_of_its_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(MPI_JOB, SCHEMA)
    wrong = yaml.safe_load(yaml.safe_dump(MPI_JOB))
    wrong["spec"]["runPolicy"]["cleanPodPolice"] = "All"
    with pytest.raises(jsonschema.ValidationError, match="cleanPodPolice"):
        jsonschema.validate(wrong, SCHEMA)


def test_the_mpi_job_starts_as_many_ranks_as_it_has_workers() -> None:
    launcher, worker = (MPI_JOB["spec"]["mpiReplicaSpecs"][kind] for kind in ("Launcher", "Worker"))
    script = launcher["template"]["spec"]["containers"][0]["args"][0]
    assert set(re.findall(r"mpirun -n (\d+) ", script)) == {str(worker["replicas"] * MPI_JOB["spec"]["slotsPerWorker"])}
    claims = [one["template"]["spec"]["volumes"] for one in (launcher, worker)]
    assert claims[0] == claims[1]
    checked = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.slow
def test_the_slurm_script_trains_saves_in_time_and_goes_on(cluster: Path) -> None:
    """Stopped by the signal before the time is up, it is queued again, and ends with the bytes of one process."""
    steps = "trainer.max_steps=200"
    first = slurm(cluster, 4, steps)
    metrics = cluster / "run/metrics.jsonl"
    deadline = time.monotonic() + 300
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        assert first.poll() is None, first.communicate()[1]
        time.sleep(0.05)
    os.kill(child_of(first.pid), signal.SIGTERM)  # to the step, as --signal without B: does
    _, errors = first.communicate(timeout=200)
    assert first.returncode == 143, errors
    assert (cluster / "requeued").read_text() == f"requeue {os.getpid()}\n"
    saved = max((cluster / "run/checkpoints").iterdir())
    assert "step-00000200" not in saved.name
    again = slurm(cluster, 2, job=os.getpid() + 1)
    _, errors = again.communicate(timeout=500)
    assert again.returncode == 0, errors
    train(cluster, "alone", *TINY.split(), "trainer.gradient_accumulation_steps=8", "trainer.gradient_sum=tree", steps)
    assert summary(cluster / "run", 200) == summary(cluster / "alone", 200)


@pytest.mark.slow
@needs_mpi
def test_the_launcher_of_the_mpi_job_trains_and_goes_on(cluster: Path) -> None:
    assert MPIRUN is not None
    (launcher,) = MPI_JOB["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]["containers"]
    script = launcher["args"][0].replace("/data/", f"{cluster}/").replace("steps=8", f"steps=8 {TINY}")
    variables = {"PATH": f"{cluster / 'bin'}:{Path(MPIRUN).parent}:{os.environ['PATH']}", "MINITRAIN_NUM_THREADS": "1"}
    for expected in ("trained", "is finished"):
        done = subprocess.run(
            [*launcher["command"], script],
            cwd=cluster,
            env=environment(**variables),
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
    train(cluster, "alone", *TINY.split(), "trainer.gradient_accumulation_steps=8", "trainer.gradient_sum=tree")
    assert summary(cluster / "run") == summary(cluster / "alone")


def child_of(pid: int) -> int:
    """The process that a script waits for."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
