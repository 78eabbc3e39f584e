"""A warm process: it imports once what every chapter imports, and forks who executes a chapter, and each kernel.

It serves until its standard input ends, which who has started it holds. A client sends its work as a line of
JSON, with the files that its output goes to, and holds the connection: what was forked for it ends with it. Only a
process without threads may be forked, so that kernels are forked by the server too, and not by who asks for them.

    python -m reidkit.report.warm serve SOCKET
    python -m reidkit.report.warm execute CHAPTER PARAMETERS OUTPUT

The second asks the server at the socket that the variable REIDKIT_WARM names; without one, it is
`python -m reidkit.report.execute`.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

SOCKET = "REIDKIT_WARM"  # the variable that names a warm process's socket
NEEDED = ("reidkit.report.execute", "ipykernel.kernelapp", "seaborn", "scipy.stats")  # and the modules of all chapters


def start() -> subprocess.Popen[bytes]:
    """A server that the clients of this process and of its children find; it ends with this process, if not before."""
    path = f"{tempfile.mkdtemp(prefix='reidkit-')}/warm"
    os.environ[SOCKET] = path
    command = [sys.executable, "-m", __name__, "serve", path]
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"})


def serve(path: str) -> None:
    """Serves at a socket; what is needed is imported when the first client has come."""
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # as a kernel has it; read by the import
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for what is forked
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever is interrupted closes the standard input
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        client, _ = listener.accept()
        warm_up()
        if os.fork() == 0:
            listener.close()
            work(client)
        client.close()
    shutil.rmtree(Path(path).parent)


def warm_up() -> None:
    chapters = sorted((Path(__file__).parent / "chapters").glob("[!_]*.py"))
    for module in (*NEEDED, *(f"reidkit.report.chapters.{chapter.stem}" for chapter in chapters)):
        with contextlib.suppress(Exception):  # whoever needs it will say what is wrong with it
            import_module(module)


def work(client: socket.socket) -> None:
    """In a forked process: does what a client asks for, and ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    message, files, _, _ = socket.recv_fds(client, 1 << 16, 2)
    while not message.endswith(b"\n") and (more := client.recv(1 << 16)):
        message += more
    if not message.endswith(b"\n"):
        os._exit(1)  # the client is gone
    for number, file in enumerate(files, start=1):
        os.dup2(file, number)
        os.close(file)
    asked = json.loads(message)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    threading.Thread(target=end_with, args=[client], daemon=True).start()
    code = 1
    try:
        WORK[asked["work"]](client, asked["arguments"])
        code = 0
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            code = stop.code or 0
        else:
            print(stop.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):
        client.sendall(bytes([code]))
    os._exit(code)


def end_with(client: socket.socket) -> None:
    """Ends this process when the client is gone."""
    with contextlib.suppress(OSError):
        client.recv(1)
    os._exit(1)


def chapter(client: socket.socket, arguments: Sequence[str]) -> None:
    from reidkit.report import execute, forked

    forked.provide()
    execute.main(*arguments)


def kernel(client: socket.socket, arguments: Sequence[str]) -> None:
    from ipykernel.kernelapp import IPKernelApp

    os.setsid()
    client.sendall(f"{os.getpid()}\n".encode())
    IPKernelApp.launch_instance(argv=[*arguments, f"--IPKernelApp.parent_handle={os.getppid()}"])


WORK = {"chapter": chapter, "kernel": kernel}


# ------------------------------------------------------------------------------------------------------------- clients


def ask(path: str, work: str, arguments: Sequence[str], folder: str, environment: Mapping[str, str]) -> socket.socket:
    """Has a server do some work, whose output goes where this process's goes; it ends when the connection is closed."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    asked = {"work": work, "arguments": list(arguments), "folder": folder, "environment": dict(environment)}
    message = json.dumps(asked).encode() + b"\n"
    client.sendall(message[socket.send_fds(client, [message], [1, 2]) :])
    return client


def execute(arguments: Sequence[str]) -> int:
    """Executes a chapter, in a warm process where there is one; what its process ended with."""
    try:
        client = ask(os.environ[SOCKET], "chapter", arguments, os.getcwd(), os.environ)
    except (KeyError, OSError):  # there is none, or it is on another machine, or was killed
        from reidkit.report import execute

        execute.main(*arguments)
        return 0
    with client:
        answer = client.recv(1)
    return answer[0] if answer else 1  # nothing where it was killed


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(execute(sys.argv[2:]))
