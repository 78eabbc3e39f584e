"""Chapters executed by a warm process against each by itself: `python -m tests.benchmarks.chapters [--profile NAME]`.

As `make book` executes them, one after another; the chapters are some that load no pictures. The start of the warm
process counts. A ratio is its time over that without one.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from reidkit.profile import parameter_file
from reidkit.report import warm
from tests.benchmarks.harness import conditions, markdown

CHAPTERS = (
    "losses",
    "systems-vectors",
    "systems-parts",
    "systems-attention",
    "attention-modules",
    "experiments",
    "open-questions",
)
BOOK = Path(__file__).parents[2] / "book"


def seconds(profile: str, server: bool) -> float:
    started = time.perf_counter()
    os.environ.pop(warm.SOCKET, None)
    process = warm.start() if server else None
    if process:
        while not Path(os.environ[warm.SOCKET]).exists():
            time.sleep(0.01)
    with tempfile.TemporaryDirectory() as folder:
        for chapter in CHAPTERS:
            arguments = (BOOK / f"{chapter}.md", parameter_file(profile), Path(folder) / f"{chapter}.ipynb")
            command = [sys.executable, "-m", "reidkit.report.warm", "execute", *map(str, arguments)]
            subprocess.run(command, check=True, capture_output=True)
    if process:
        process.communicate()
    return time.perf_counter() - started


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="synthped")
    profile = parser.parse_args().profile
    print(conditions(), end="\n\n")
    alone, served = (seconds(profile, server) for server in (False, True))
    line = [len(CHAPTERS), f"{alone:.1f} s", f"{served:.1f} s", f"{served / alone:.2f}"]
    print(markdown(["chapters", "each by itself", "by a warm process", "ratio"], [line]))
