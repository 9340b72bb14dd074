"""Child processes end with their parent."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

PARENT = """
import signal, sys
from mnist_batch.sources.child_process import read_output, script_command
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
read_output(script_command(sys.argv[1], sys.argv[2].encode()))
"""
CHILD = """
import os, sys, time
with open(sys.argv[1], "w") as file:
    file.write(str(os.getpid()))
time.sleep(60)
"""


def test_child_ends_with_its_parent(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    (tmp_path / "child.py").write_text(CHILD)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path / "child.py"), str(pid_file)])
    while not pid_file.exists() or not pid_file.read_text():
        assert parent.poll() is None
        time.sleep(0.01)
    parent.terminate()
    assert parent.wait() == 3
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
