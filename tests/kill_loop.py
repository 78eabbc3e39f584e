"""Kills a run, or the build of the smoke profile's book, at random moments: it goes on to the same records.

python -m tests.kill_loop run              # twenty kills of a run of twelve epochs, from the rendering on
python -m tests.kill_loop book --times 5   # of `snakemake book`, alone or with all that it started, several a build
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from reidkit import training
from reidkit.profile import Profile
from reidkit.records import read_records
from reidkit.runs import run

ROOT = Path(__file__).parents[1]


def one_run() -> None:
    """In a process of its own: a fork of this one, so that nothing is imported again."""
    assert training.train.__kwdefaults__ is not None
    training.train.__kwdefaults__["checkpoint_seconds"] = 0.0  # after each epoch, that there is something to go on from
    run(Profile.read("smoke", epochs=12).config("none/ce+tri"), progress=False)


def the_book() -> None:
    book = ("snakemake", "book", "--configfile", "parameters/smoke.yaml", "--cores", "all", "--resources", "gpu=1")
    os.execvp(book[0], (*book, "--rerun-incomplete", "--nolock", "--quiet", "rules", "host"))


def start(work: Callable[[], None], log: Path) -> int:
    """Starts a process in a group of its own, and returns its number."""
    if process := os.fork():
        return process
    os.setpgid(0, 0)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def wait(process: int, log: Path, seconds: float) -> bool:
    """Whether a process ends within so many seconds. Exits where it ends badly."""
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            done, status = os.waitpid(process, os.WNOHANG)
            if done:
                if status:
                    raise SystemExit(f"It failed by itself, after a kill or without one:\n{log.read_text()[-4000:]}")
                return True
            time.sleep(0.02)
    except (KeyboardInterrupt, SystemExit):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGTERM)
        raise
    return False


def kill(process: int, group: bool) -> None:
    """With everything that it started, or alone: what it started must then end by itself."""
    (os.killpg if group else os.kill)(process, signal.SIGKILL)
    os.waitpid(process, 0)
    until = time.monotonic() + 10
    while left := subprocess.run(["pgrep", "-g", str(process)], capture_output=True, text=True).stdout.split():
        if time.monotonic() > until:
            raise SystemExit(f"These outlive the process that started them: {' '.join(left)}")
        time.sleep(0.1)


def numbers(build: Path) -> dict[str, object]:
    """All that its records measured, by name; each is checked against its checksums."""
    found = read_records(build / "records")
    return {record.name: (record.metrics, {k: t.to_csv() for k, t in record.tables.items()}) for record in found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "book"])
    parser.add_argument("--times", type=int, default=20, help="kills in all")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    chance, work = random.Random(given.seed), one_run if given.what == "run" else the_book
    os.chdir(ROOT)
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what is under way is ended with this script
    with tempfile.TemporaryDirectory() as folder:
        log, whole = Path(folder) / "log", Path(folder) / "whole"
        os.environ["REIDKIT_BUILD"] = str(whole)
        started = time.monotonic()
        wait(start(work, log), log, float("inf"))
        duration = time.monotonic() - started
        expected = numbers(whole)
        print(f"uninterrupted: {duration:.0f} s, {len(expected)} records", flush=True)
        kills = finished = 0
        while kills < given.times:
            build = Path(folder) / "killed"
            os.environ["REIDKIT_BUILD"] = str(build)
            while True:
                moment = chance.uniform(0, duration / 4) if kills < given.times else float("inf")
                process = start(work, log)
                if wait(process, log, moment):
                    break
                kill(process, group=given.what == "book" and kills % 2 == 0)
                kills += 1
                numbers(build)  # nothing half-written is read
                print(f"kill {kills} after {moment:.1f} s", flush=True)
            if numbers(build) != expected:
                raise SystemExit(
                    f"the records in {shutil.move(build, tempfile.mkdtemp())} are others than without a kill"
                )
            finished += 1
            shutil.rmtree(build)
        print(f"{kills} kills, {finished} times to the end, the same {len(expected)} records each time")


if __name__ == "__main__":
    main()
