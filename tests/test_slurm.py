"""The Snakefile on a real Slurm, which this test starts and stops: a run is preempted, requeued, and goes on."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from reidkit.places import project_root
from reidkit.records import read_records
from tests.slurm import ask, cluster, missing

PLUGIN = "snakemake_executor_plugin_slurm"
PROFILE = {
    **{"profile": "mine", "dataset": "synthped", "synthped_train_identities": 8, "synthped_test_identities": 4},
    **{"image_height": 64, "image_width": 32, "width_multiplier": 0.125, "padding": 4, "batch_size": 16},
    **{"epochs": 150, "warmup_epochs": 0.5, "milestones": [], "systems": {"joint-loss": {"rows": ["none/ce"]}}},
}

pytestmark = pytest.mark.skipif(
    bool(missing()) or importlib.util.find_spec(PLUGIN) is None,
    reason=f"no Slurm here: {missing() or f'{PLUGIN} is not installed'}",
)


@pytest.fixture
def slurm() -> Iterator[None]:
    with cluster():
        yield


def read(log: Path) -> str:
    """A job's log. Slurm and the job write to one file, now and then over one another's half character."""
    return log.read_text(errors="replace")


def wait_for(condition: str, file: Path | None = None, seconds: float = 300) -> str:
    """Until something like `condition` stands in a file, or in what Slurm says of its jobs, a line each."""
    started = time.monotonic()
    while time.monotonic() < started + seconds:
        said = ask("scontrol", "--oneliner", "show", "job")
        if file is not None:
            said = read(file) if file.is_file() else ""
        if found := re.search(condition, said):
            return found[0]
        time.sleep(0.2)
    raise TimeoutError(f"{condition!r} is not in {said}")


def test_a_run_is_submitted_preempted_and_goes_on_from_its_checkpoint(slurm: None, tmp_path: Path) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text(yaml.safe_dump(PROFILE))
    environment = {**os.environ, "REIDKIT_BUILD": str(tmp_path / "build"), "PYTHONPATH": os.pathsep.join(sys.path)}
    asked = [sys.executable, "-m", "reidkit", "plan", str(profile), "--json"]
    plan = json.loads(subprocess.run(asked, env=environment, capture_output=True, text=True, check=True).stdout)
    (run,) = plan["runs"]
    command = [
        *(sys.executable, "-m", "snakemake", f"{plan['records']}/{run}/record.json", "--profile", "cluster/slurm"),
        *("--configfile", str(profile), "--cores", "all", "--nolock", "--slurm-logdir", str(tmp_path / "logs")),
        *("--slurm-no-account", "--slurm-status-command", "squeue", "--slurm-keep-successful-logs"),
        *("--slurm-init-seconds-before-status-checks", "2", "--set-threads", "run=1"),
    ]
    said = tmp_path / "snakemake.log"
    with (
        said.open("w") as output,
        subprocess.Popen(
            command, cwd=project_root(), env=environment, stdout=output, stderr=subprocess.STDOUT
        ) as snakemake,
    ):
        try:
            wait_for("rule_run|Error|error", said)
            assert snakemake.poll() is None, said.read_text()
            job = wait_for(r"JobId=\d+ .*rule_run_").split()[0].partition("=")[2]
            asked_for = wait_for(f"JobId={job} .*")
            log = tmp_path / "logs" / "rule_run" / run / f"{job}.log"
            wait_for(r"none-ce seed0: +[1-9]\d%", log)
            urgent = ask(
                "sbatch", "--parsable", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=true"
            )
            wait_for(f"JobId={urgent.strip()} .*JobState=COMPLETED")
            wait_for(f"JobId={job} .*Restarts=1")
            ask("scontrol", "update", f"JobId={job}", "StartTime=now")  # Slurm would wait for two minutes
            snakemake.wait(timeout=400)
        finally:
            snakemake.kill()
    assert snakemake.returncode == 0, said.read_text()
    for resource in ("mem=24000M", "TimeLimit=01:00:00", "gpu:1", "Requeue=1"):
        assert resource in asked_for
    (record,) = read_records(tmp_path / "build" / "records")
    assert len(record.history) == PROFILE["epochs"]
    steps = int(record.table("steps")["step"].max())
    resumed = re.findall(r"100%.*?\d+/(\d+)", read(log))
    assert 0 < int(resumed[-1]) < steps, f"the second start took all {steps} steps again"
