"""Fills a small disk at every stage of a run, heat maps and pages: told in words, and gone on from with more room.

sudo python -m tests.full_disk [KIB ...]    # as root, who may mount a file system of any size in memory; Linux
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from reidkit import training
from reidkit.__main__ import main as reidkit
from reidkit.profile import Profile
from reidkit.records import read_records
from reidkit.runs import render_synthped

KIB = [16, 64, 256, 512, 1024, 1536, 2048, 3072, 4096, 5120, 6144, 8192, 12288]
ROOT = Path(__file__).parents[1]


def call(log: Path, *arguments: str) -> int:
    """The exit code of a command, in a fork of this process, so that nothing is imported again."""
    if process := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    assert training.train.__kwdefaults__ is not None
    training.train.__kwdefaults__["checkpoint_seconds"] = 0.0
    sys.argv = ["reidkit", *arguments]
    code = 70
    try:
        reidkit()
        code = 0
    except SystemExit as error:
        code = int(error.code or 0) if not isinstance(error.code, str) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or KIB
    os.chdir(ROOT)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        disk, log = Path(folder) / "disk", Path(folder) / "log"
        disk.mkdir()
        data = render_synthped(Profile.read("smoke"), Path(folder) / "data", progress=False)
        given = ("smoke", "--set", f"data_root={data}")
        pages = ("pages", "smoke", "--toc", "book/_toc.yml", "--source", str(disk / "source"))
        run, maps = ("run", *given, "--set", "epochs=3", "--row", "none/ce"), ("heatmaps", *given)
        expected: dict[str, object] = {}
        for kib in sorted({*sizes, max(KIB)}, reverse=True):  # the largest first, which has room for everything
            os.environ["REIDKIT_BUILD"] = str(disk / "build")
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(disk)], check=True)
            try:
                codes = []
                for command in (run, maps, pages):
                    codes.append(call(log, *command))
                    text = log.read_text(errors="replace")
                    if codes[-1] not in (0, 1) or "Traceback" in text:
                        raise SystemExit(f"{kib} KiB, {command[0]}: exit code {codes[-1]}\n{text[-3000:]}")
                    told = [line for line in text.splitlines() if line.startswith("reidkit: ")]
                    if codes[-1]:
                        print(f"{kib} KiB, {command[0]}: {told[-1][:150]}", flush=True)
                read_records(disk / "build" / "records")  # nothing half-written is read
                subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
                for command in (run, maps, pages):
                    if call(log, *command):
                        raise SystemExit(f"{kib} KiB, then more, {command[0]}:\n{log.read_text()[-3000:]}")
                found = {record.name: record.metrics for record in read_records(disk / "build" / "records")}
                expected = expected or found
                if found != expected:
                    raise SystemExit(f"{kib} KiB, then more: {found}, expected {expected}")
                print(f"{kib} KiB: exit codes {codes}, then with more room the same {len(found)} records", flush=True)
            finally:
                subprocess.run(["umount", str(disk)], check=True)
        shutil.rmtree(data)


if __name__ == "__main__":
    main()
