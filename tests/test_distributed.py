"""Several processes on one run: they take the steps of one process, and leave one record."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from reidkit import distributed
from reidkit.errors import UserError
from reidkit.places import project_root
from reidkit.profile import Profile
from reidkit.records import read_records
from reidkit.runs import run

# Of a network without batch norm and a loss that is a mean over images, the mean of the shares is the whole.
SCRIPT = """
import sys
from pathlib import Path
import torch
from torch import nn
from reidkit import distributed
from reidkit.data.resident import ResidentImages
from reidkit.data.samplers import ShuffledSampler
from reidkit.training import Settings, train

class Images(ResidentImages):
    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.pixels = torch.randint(0, 256, (24, 3, 16, 16), generator=generator).byte()

distributed.join()
torch.manual_seed(0)
network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5))
settings = Settings(
    image_height=16, image_width=16, epochs=2, batch_size=8, precision="fp32", channels_last=False, padding=2
)

def losses(batch):
    return {"total": nn.functional.cross_entropy(network(batch.images), batch.labels)}

trained = train(network, losses, Images(), torch.arange(24) % 5, ShuffledSampler(24, 8), settings, seed=0,
                directory=Path(sys.argv[1]), identity={}, progress=False)
trained.history.to_csv(Path(sys.argv[1]) / f"history-{distributed.rank()}.csv", index=False)
torch.save(network.state_dict(), Path(sys.argv[1]) / f"network-{distributed.rank()}.pt")
"""


def launch(arguments: list[str], processes: int, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"),
            *arguments,
        ],
        cwd=project_root(),
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_two_processes_take_the_steps_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    alone.mkdir()
    shared.mkdir()
    monkeypatch.setattr(sys, "argv", [str(script), str(alone)])
    runpy.run_path(str(script))
    done = launch([str(script), str(shared)], 2, PYTHONPATH=str(project_root()))
    assert done.returncode == 0, done.stderr[-3000:]
    for rank in (0, 1):
        history, expected = (pd.read_csv(path) for path in (shared / f"history-{rank}.csv", alone / "history-0.csv"))
        pd.testing.assert_frame_equal(history, expected, rtol=1e-5)
        network = torch.load(shared / f"network-{rank}.pt")
        for name, value in torch.load(alone / "network-0.pt").items():
            torch.testing.assert_close(network[name], value, rtol=1e-4, atol=1e-6)


def test_torchrun_leaves_one_record_of_a_run(tmp_path: Path, synthped: Path) -> None:
    rows = ("none/ce+tri", "ID+attrAttention")
    arguments = ["-m", "reidkit", "run", "smoke", *(f"--row={row}" for row in rows), f"--data-root={synthped}"]
    done = launch(arguments, 2, REIDKIT_BUILD=str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    profile = Profile.read("smoke", data_root=str(synthped))
    configs = {config.name: config for config in map(profile.config, rows)}
    records = [record for record in read_records(tmp_path / "records") if record.name in configs]
    assert {record.name for record in records} == configs.keys()
    for record in records:
        assert record.provenance["device"].startswith("2 × ")
        assert len(record.history) == configs[record.name].epochs
        assert done.stdout.count(record.name) == 1
    again = launch(arguments, 2, REIDKIT_BUILD=str(tmp_path))  # loads them, in both
    assert again.returncode == 0, again.stderr[-3000:]
    assert again.stdout.splitlines() == [line for line in done.stdout.splitlines() if line.startswith((*configs,))]


@pytest.mark.usefixtures("one_block_a_stage")
def test_processes_that_do_not_divide_a_batch_are_told_so(
    build: Path, synthped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Profile.read("smoke", data_root=synthped, images_per_identity=1, batch_size=15).config("none/ce")
    monkeypatch.setattr(distributed, "processes", lambda: 2)
    with pytest.raises(UserError, match="none-ce seed0: batches of 15 images cannot be divided among 2 processes"):
        run(config, progress=False)
    assert not read_records(build / "records")


def test_one_process_has_all() -> None:
    batches = torch.arange(12).view(3, 4)
    assert torch.equal(distributed.share(batches), batches)
    gradients = [torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])]
    distributed.average(gradients)
    assert [gradient.tolist() for gradient in gradients] == [[1, 2], [[3]]]
    assert distributed.agreed(True)
    with distributed.first_one_first():
        assert distributed.rank() == 0


def test_a_batch_that_cannot_be_divided_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "processes", lambda: 3)
    with pytest.raises(ValueError, match="batches of 4 images cannot be divided among 3 processes"):
        distributed.share(torch.arange(12).view(3, 4))
    with pytest.raises(ValueError, match="batches of 3 images leave each of 3 processes one, and a batch norm needs"):
        distributed.share(torch.arange(12).view(4, 3))
