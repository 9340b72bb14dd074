"""The rule by which a reader recognizes a complete set, the command that starts the fake job, and small disks."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FAKE_JOB = [sys.executable, str(Path(__file__).with_name("fake_job.py"))]


@contextmanager
def mount_disk(folder: Path, size: str) -> Iterator[None]:
    """Makes a folder a file system of that size. Skips the test if that is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def parts_of(output: Path) -> dict[str, str]:
    """SHA-256 of each part file, by its path below the folder."""
    return {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.glob("*/part-*"))
        if path.parts[-2] in ("predictions", "rejects")
    }


def set_in(output: Path) -> dict[str, str] | None:
    """The parts of the complete set, as in `parts_of`, or None if there is no `_SUCCESS`.

    An inconsistent set fails the test.
    """
    success = output / "_SUCCESS"
    if not success.exists():
        return None
    manifest = (output / "manifest.json").read_bytes()
    assert success.read_text() == hashlib.sha256(manifest).hexdigest() + "\n"
    promised = {name: part["sha256"] for name, part in json.loads(manifest)["parts"].items()}
    assert parts_of(output) == promised
    return promised
