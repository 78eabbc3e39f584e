"""Several processes on one run: they take the steps of one process, and leave one record."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from reidkit import distributed
from reidkit.places import project_root
from reidkit.profile import Profile
from reidkit.records import read_records

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


def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    left = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        done = launch([str(script), str(folder)], processes, PYTHONPATH=str(project_root()))
        assert done.returncode == 0, done.stderr[-3000:]
        left[processes] = [
            (pd.read_csv(folder / f"history-{rank}.csv"), torch.load(folder / f"network-{rank}.pt"))
            for rank in range(processes)
        ]
    ((history, network),) = left[1]
    for shared_history, shared_network in left[2]:
        pd.testing.assert_frame_equal(shared_history, history, rtol=1e-5)
        for name, value in network.items():
            torch.testing.assert_close(shared_network[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("cell", ["none/ce+tri", "ID+attrAttention"])
def test_torchrun_leaves_one_record(tmp_path: Path, synthped: Path, cell: str) -> None:
    arguments = ["-m", "reidkit", "run", "smoke", "--cell", cell, "--set", f"data_root={synthped}"]
    done = launch(arguments, 2, REIDKIT_BUILD=str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    config = Profile.read("smoke", data_root=str(synthped)).config(cell, None)
    (record,) = [record for record in read_records(tmp_path / "records") if record.name == config.name]
    assert record.provenance["device"].startswith("2 × ")
    assert len(record.history) == config.epochs
    assert done.stdout.count(config.name) == 1
    again = launch(arguments, 2, REIDKIT_BUILD=str(tmp_path))  # loads it, in both
    assert again.returncode == 0, again.stderr[-3000:]
    assert again.stdout == done.stdout.splitlines(keepends=True)[-1]


def test_processes_that_do_not_divide_a_batch_are_told_so(tmp_path: Path, synthped: Path) -> None:
    arguments = ["-m", "reidkit", "run", "smoke", "--cell", "none/ce", "--set", f"data_root={synthped}"]
    done = launch(
        [*arguments, "--set", "images_per_identity=1", "--set", "batch_size=15"], 2, REIDKIT_BUILD=str(tmp_path)
    )
    assert done.returncode != 0
    assert "reidkit: none-ce seed0: batches of 15 images cannot be divided among 2 processes" in done.stderr
    assert not read_records(tmp_path / "records")


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
