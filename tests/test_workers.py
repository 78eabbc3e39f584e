"""What a process started ends with it, where it is killed and can tell nobody."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from reidkit.places import project_root

on_linux = pytest.mark.skipif(not Path("/proc/self/environ").is_file(), reason="looks for processes in /proc")


def at_work(build: Path) -> list[str]:
    """The command lines of all processes, of whatever group and session, that were told of a build folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            if f"REIDKIT_BUILD={build}\0".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < until:
        time.sleep(0.1)
    return met


def test_a_render_that_is_killed_and_two_after_it_at_once(tmp_path: Path) -> None:
    """No worker outlives it: whoever reads what it prints would wait for ever, since workers hold that pipe too."""
    root, profile = tmp_path / "synthped", tmp_path / "mine.yaml"
    few = {"profile": "mine", "synthped_train_identities": 8, "synthped_test_identities": 2}
    profile.write_text(yaml.safe_dump(few))

    def render() -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "reidkit", "data", "render", str(profile), "--root", str(root)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    killed = render()
    while not list(tmp_path.glob(".synthped-*/bounding_box_train/*.jpg")):
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    assert not root.exists()

    for process in (render(), render()):
        _, said = process.communicate(timeout=600)
        assert process.returncode == 0, said
    assert (root / "synthped.json").is_file()
    assert not list(tmp_path.glob(".synthped-*"))  # nor what the killed one left


def killed_at_work(command: list[str], environment: dict[str, str], build: Path, at: Callable[[], bool]) -> None:
    with subprocess.Popen(
        command, cwd=project_root(), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        assert wait_for(lambda: at() or process.poll() is not None, 300)
        assert process.poll() is None
        process.kill()
    assert wait_for(lambda: not at_work(build), 15), at_work(build)


@on_linux
def test_what_a_killed_snakemake_has_started(build: Path, tmp_path: Path) -> None:
    """A render that would take an hour."""
    profile = tmp_path / "mine.yaml"
    profile.write_text(yaml.safe_dump({"profile": "mine", "synthped_train_identities": 90_000}))
    target = build / "data" / "market-like-0-90000-all" / "synthped.json"
    command = [sys.executable, "-m", "snakemake", str(target), "--configfile", str(profile), "--cores", "1", "--nolock"]
    environment = {**os.environ, "REIDKIT_BUILD": str(build), "PYTHONPATH": os.pathsep.join(sys.path)}
    killed_at_work(command, environment, build, lambda: any("data render" in line for line in at_work(build)))


@on_linux
def test_what_a_killed_torchrun_has_started(build: Path, synthped: Path) -> None:
    """In sessions of their own, so that no signal to torchrun's group reaches them."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1", "-m", "reidkit"]
    run = ["run", "smoke", "--row", "none/ce", "--data-root", str(synthped), "--set", "epochs=100000"]
    environment = {**os.environ, "REIDKIT_BUILD": str(build), "OMP_NUM_THREADS": "1"}
    killed_at_work([*torchrun, *run], environment, build, lambda: any(build.glob("runs/*.holder")))
