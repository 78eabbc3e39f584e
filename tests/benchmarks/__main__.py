"""Run every benchmark of this folder, one after the other: `python -m tests.benchmarks`."""

import subprocess
import sys
from pathlib import Path

for script in sorted(Path(__file__).parent.glob("*.py")):
    if script.stem not in ("__main__", "__init__", "harness"):
        print(f"\n## {script.stem}\n", flush=True)
        subprocess.run([sys.executable, "-m", f"tests.benchmarks.{script.stem}"], check=True)
