"""A Slurm cluster of one node on this machine, as `python -m tests.slurm COMMAND…` has it while a command runs.

It is of munge, which signs messages, the controller and the node's daemon, as Debian's `slurm-wlm` and `munge` bring
them, and listens on this machine only. All of it lies in a folder of its own, but for links in /etc/slurm: jobs do not
inherit another place. There are two partitions on the node, of which `urgent` takes it from the jobs of `normal`, and a
GPU that is only a number, as are its four CPUs and 32 GB. Needs root.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

SETTINGS = Path("/etc/slurm")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")


def missing() -> str | None:
    """Why there can be no cluster here, or None."""
    if absent := [program for program in PROGRAMS if find(program) is None]:
        return f"{', '.join(absent)} not installed (apt-get install slurm-wlm munge)"
    if (SETTINGS / "slurm.conf").exists():
        return f"this machine has a Slurm of its own ({SETTINGS}/slurm.conf)"
    return None if os.geteuid() == 0 else "a node's daemon needs root"


def find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@contextlib.contextmanager
def cluster() -> Iterator[None]:
    """Starts the cluster, and stops it after the block."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("state", "spool"):
            (folder / part).mkdir()
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o400)
        node = os.uname().nodename
        (folder / "gres.conf").write_text(f"NodeName={node} Name=gpu File=/dev/null\n")
        (folder / "slurm.conf").write_text(
            f"""ClusterName=test
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=20
MinJobAge=600
GresTypes=gpu
NodeName={node} NodeAddr=127.0.0.1 CPUs=4 RealMemory=32000 Gres=gpu:1 State=UNKNOWN
PartitionName=normal Nodes={node} Default=YES PriorityTier=1 MaxTime=60
PartitionName=urgent Nodes={node} PriorityTier=2 MaxTime=60 PreemptMode=OFF
"""
        )
        SETTINGS.mkdir(exist_ok=True)
        for file in ("slurm.conf", "gres.conf"):
            (SETTINGS / file).unlink(missing_ok=True)  # a link that a killed process has left
            (SETTINGS / file).symlink_to(folder / file)
            stack.callback((SETTINGS / file).unlink)

        def start(*command: str) -> None:
            daemon = subprocess.Popen(
                [find(command[0]) or command[0], *command[1:]],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(daemon.wait)
            stack.callback(daemon.terminate)

        munge = (f"--key-file={folder}/munge.key", f"--socket={folder}/munge.socket", f"--pid-file={folder}/munge.pid")
        start("munged", "--foreground", *munge, f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed")
        for _ in range(100):
            if (folder / "munge.socket").exists():
                break
            time.sleep(0.1)
        start("slurmctld", "-D")
        start("slurmd", "-D", "-N", node)
        for _ in range(300):
            if "idle" in ask("sinfo", "--noheader", "--format=%t"):
                break
            time.sleep(0.2)
        else:
            logs = "\n".join(path.read_text()[-2000:] for path in sorted(folder.glob("*.log")))
            raise RuntimeError(f"Slurm does not come up:\n{logs}")
        stack.callback(ask, "scancel", "--full", "--user=root")
        yield


def ask(*command: str) -> str:
    """What one of Slurm's commands prints."""
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


def main(command: Sequence[str]) -> int:
    if reason := missing():
        print(f"no Slurm here: {reason}", file=sys.stderr)
        return 77  # what test suites take for "skipped"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which stops the cluster, too
    with cluster():
        return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
