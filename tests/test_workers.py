import signal
import subprocess
import sys
import time
from pathlib import Path


def test_no_worker_of_a_render_outlives_it(tmp_path: Path) -> None:
    """Whoever reads what it prints would wait for ever: the workers hold that pipe too."""
    command = [sys.executable, "-m", "reidkit", "data", "render", "smoke", "--root", str(tmp_path / "synthped")]
    rendering = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not list(tmp_path.glob(".synthped-*/bounding_box_train/*.jpg")):
        assert rendering.poll() is None, rendering.communicate()
        time.sleep(0.05)
    rendering.send_signal(signal.SIGKILL)
    rendering.communicate(timeout=60)
    assert not (tmp_path / "synthped").exists()
