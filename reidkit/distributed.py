"""One run on several devices: `torchrun --nproc-per-node N -m reidkit run …` starts a process for each.

Each process takes its share of every batch, and all take the same step, by the mean of their gradients. What a batch
is for a batch norm or for batch-hard mining is the share of one process. Without torchrun there is one process, and
nothing here does anything.
"""

import atexit
import contextlib
import os
from collections.abc import Iterator, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


def join() -> None:
    """Joins the processes that torchrun has started, if it has, each with a GPU of its own where there are any."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or dist.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # Patient, as the others wait while the first one renders a data set, stores heat maps or ranks a gallery.
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=timedelta(days=1))
    atexit.register(leave)


def leave() -> None:
    """Leaves the other processes: threads that still talk to them while Python ends now and then abort it."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Which of the processes this is; the first one, 0, writes and shows what there is to write and to show."""
    return dist.get_rank() if dist.is_initialized() else 0


def processes() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def share(batches: Tensor) -> Tensor:
    """This process's part (steps, B / processes) of batches (steps, B).

    Raises ValueError where B cannot be divided, or leaves each of several processes one image only.
    """
    count = batches.shape[1]
    if count % processes():
        raise ValueError(
            f"batches of {count} images cannot be divided among {processes()} processes: "
            "choose a batch_size or an --nproc-per-node that fits"
        )
    if count == processes() > 1:
        raise ValueError(
            f"batches of {count} images leave each of {processes()} processes one, and a batch norm needs two: "
            "raise batch_size, or start fewer processes"
        )
    return batches.chunk(processes(), 1)[rank()]


def average(tensors: Sequence[Tensor]) -> None:
    """Puts the mean over the processes into each tensor, all of one dtype and device."""
    if processes() == 1 or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])  # one message instead of many
    dist.all_reduce(flat)
    flat /= processes()
    for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view(tensor.shape))


def agreed(answer: bool) -> bool:
    """The first process's answer, which all wait for."""
    said = [answer]
    if dist.is_initialized():
        dist.broadcast_object_list(said)
    return said[0]


def wait() -> None:
    """Until all processes have come here."""
    if dist.is_initialized():
        dist.barrier()


@contextlib.contextmanager
def first_one_first() -> Iterator[None]:
    """The first process does what is inside alone; the others follow when it is done, and find it done."""
    if rank() > 0:
        wait()
    yield
    if rank() == 0:
        wait()
