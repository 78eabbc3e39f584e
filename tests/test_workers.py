import signal
import subprocess
import sys
import time
from pathlib import Path


def test_a_render_that_is_killed_and_two_after_it_at_once(tmp_path: Path) -> None:
    """No worker outlives it: whoever reads what it prints would wait for ever, since workers hold that pipe too."""
    root = tmp_path / "synthped"

    def render() -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "reidkit", "data", "render", "smoke", "--root", str(root)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    killed = render()
    while not list(tmp_path.glob(".synthped-*/bounding_box_train/*.jpg")):
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    assert not root.exists()

    for process in (render(), render()):
        _, said = process.communicate(timeout=600)
        assert process.returncode == 0, said
    assert (root / "synthped.json").is_file()
    assert not list(tmp_path.glob(".synthped-*"))  # nor what the killed one left
