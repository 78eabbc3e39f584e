"""What the benchmarks share: times taken in turn, memory beyond what was there, and a Markdown table.

Absolute times say little about code. Each benchmark therefore measures ours and its yardstick in the same run, in turn,
and compares the best of each: what else the machine does then disturbs both alike, and the minimum least of all.
"""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch


def best_times(functions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The shortest time of each function in seconds, of so many rounds that call each in turn."""
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def memory_beyond(function: Callable[[], Any]) -> float:
    """How far the process grows beyond its present size while the function runs, in MB (10⁶ bytes). Linux only.

    Call it in a fresh process: memory that an earlier call has left behind would be taken for free.
    """

    def status(field: str) -> int:
        line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field))
        return int(line.split()[1]) * 1024

    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = status("VmRSS")
    function()
    return (status("VmHWM") - before) / 1e6


def verdict(value: float, bar: float | None) -> str:
    if bar is None:
        return f"{value:.2f}"
    return f"{value:.2f} (bar {bar:g}: {'met' if value <= bar else 'MISSED'})"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def conditions() -> str:
    """What was measured on, and how busy it was with other work: a ratio from a crowded machine is worth little."""
    return (
        f"torch {torch.__version__}, {torch.get_num_threads()} threads on {os.cpu_count()} cores, "
        f"load average {os.getloadavg()[0]:.1f}"
    )
