"""The rule by which a reader recognizes a complete set, and the command that starts the fake job."""

import hashlib
import json
import sys
from pathlib import Path

FAKE_JOB = [sys.executable, str(Path(__file__).with_name("fake_job.py"))]


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
