"""Chapters executed in processes that a warm one forks: as in processes of their own, and gone with who asked."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reidkit.profile import parameter_file
from reidkit.report import warm
from tests.report.test_notebook import chapter, outputs

FRESH = "import sys; print('torch' in sys.modules, hasattr(sys, 'mark')); sys.mark = 1"
PID = "import os; print(os.getpid(), os.getppid(), flush=True)"


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[bytes]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(warm.SOCKET, "")
        process = warm.start()
        while not Path(os.environ[warm.SOCKET]).exists():
            time.sleep(0.05)
        yield process
        if process.poll() is None:
            process.communicate()


def execute(path: Path, output: Path) -> subprocess.Popen[str]:
    arguments = map(str, (path, parameter_file("smoke"), output))
    command = [sys.executable, "-m", "reidkit.report.warm", "execute", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_kernels_are_forked_and_start_afresh(server: subprocess.Popen[bytes], tmp_path: Path) -> None:
    told = []
    for name in ("one", "two"):
        (folder := tmp_path / name).mkdir()
        cells = (PID, FRESH, "import matplotlib; print(matplotlib.get_backend())")
        process = execute(chapter(folder, *cells), folder / "out.ipynb")
        assert process.wait() == 0, process.stdout and process.stdout.read()
        told.append(outputs(folder / "out.ipynb").splitlines())
    for lines in told:
        assert lines[0] == "smoke 1"
        assert int(lines[1].split()[1]) == server.pid
        assert lines[2] == "True False"  # imported already; and what another chapter did is not seen
        assert "inline" in lines[3]
    assert told[0][1] != told[1][1]


def test_a_failing_chapter_says_so_and_its_partial_notebook_stays(server: object, tmp_path: Path) -> None:
    process = execute(chapter(tmp_path, "1 / 0"), tmp_path / "out.ipynb")
    assert process.stdout is not None
    said = process.stdout.read()
    assert process.wait() == 1
    assert "ZeroDivisionError" in said
    assert "Traceback" not in said
    assert (tmp_path / "out.failed.ipynb").is_file()


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_kernel_ends_with_who_asked_for_it_and_with_the_server(
    who: str, server: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    marker = tmp_path / "pid"
    sleeper = f"import os, time, pathlib; pathlib.Path({str(marker)!r}).write_text(str(os.getpid())); time.sleep(600)"
    process = execute(chapter(tmp_path, sleeper), tmp_path / "out.ipynb")
    while not marker.is_file() or not marker.read_text():
        time.sleep(0.05)
    pid = int(marker.read_text())
    assert alive(pid)
    if who == "client":
        process.kill()
    else:
        folder = Path(os.environ[warm.SOCKET]).parent
        server.communicate()  # closes its standard input, which is how it learns that a build has ended
        assert not folder.exists()
        process.kill()
    process.wait()
    for _ in range(200):
        if not alive(pid):
            break
        time.sleep(0.1)
    assert not alive(pid)


@pytest.mark.parametrize("left", [False, True])
def test_without_a_server_a_chapter_is_executed_all_the_same(
    left: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(warm.SOCKET, path := str(tmp_path / "nobody"))
    if left:  # by a server that was killed
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
    process = execute(chapter(tmp_path), tmp_path / "out.ipynb")
    assert process.wait() == 0
    assert outputs(tmp_path / "out.ipynb") == "smoke 1\n"
