"""Processes that end with whoever started them, even where that one is killed and can tell them nothing."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from multiprocessing import util


@contextlib.contextmanager
def ending_with_this_process() -> Iterator[None]:
    """Every process that multiprocessing forks within the block ends, at most a second late, when this one does."""
    parent = os.getpid()
    registered = threading.Event()  # multiprocessing forgets the call below with the object that it is registered for
    util.register_after_fork(registered, lambda _: threading.Thread(target=_watch, args=(parent,), daemon=True).start())
    yield
    del registered


def end_with_parent() -> None:
    """From now on this process ends, at most a second late, when the one that started it does."""
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
