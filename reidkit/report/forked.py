"""Kernels that a warm process forks, in the place of those that start anew: a provisioner for Jupyter."""

import os
import select
import signal
import socket
from importlib.metadata import EntryPoint
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from reidkit.report import warm

NAME = "reidkit-forked"


def provide() -> None:
    """From now on the kernels of this process are forked."""
    known = KernelProvisionerFactory.instance()
    known.provisioners[NAME] = EntryPoint(NAME, f"{__name__}:ForkedKernel", known.GROUP_NAME)
    known.default_provisioner_name = NAME


class Forked:
    """A process that a server has forked for us, as a `subprocess.Popen` without its streams."""

    stdin = stdout = stderr = None

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        with connection.makefile("rb", buffering=0) as answer:
            self.pid = int(answer.readline())

    def poll(self) -> int | None:
        """None while it lives; it says nothing more until it has ended, when the connection is closed."""
        return 0 if select.select([self.connection], [], [], 0)[0] else None

    def wait(self) -> int:
        select.select([self.connection], [], [])
        self.connection.close()
        return 0

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkedKernel(LocalProvisioner):
    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        arguments = cmd[cmd.index("ipykernel_launcher") + 1 :]  # of `python -m ipykernel_launcher`
        self.cwd = kwargs.get("cwd") or os.getcwd()
        connection = warm.ask(os.environ[warm.SOCKET], "kernel", arguments, self.cwd, kwargs["env"])
        forked = Forked(connection)
        self.process = forked  # type: ignore[assignment]  # it has of a Popen what is needed here
        self.pid = self.pgid = forked.pid  # it has a session of its own
        return self.connection_info
