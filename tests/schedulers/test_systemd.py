"""The units, by systemd's own judgement; nothing is started."""

import shutil
import subprocess
from pathlib import Path

import pytest

JOBS = Path(__file__).parent.parent.parent / "jobs"
pytestmark = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="wants systemd-analyze: apt-get install systemd"
)


@pytest.fixture
def units(tmp_path):
    """The units as they are, but for where the project lies."""
    for unit in (JOBS / "systemd").iterdir():
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/mnist-batch/jobs", str(JOBS)))
    return tmp_path


def analysed(*arguments):
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


def test_the_units_are_without_a_fault(units):
    verified = analysed("verify", *map(str, sorted(units.iterdir())))
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


def test_a_fault_would_be_found(units):
    service = units / "mnist-batch.service"
    service.write_text(service.read_text().replace("TimeoutStopSec=30s", "TimeoutStopSec=soon"))
    assert "Failed to parse" in analysed("verify", str(service)).stderr


def test_the_service_has_little_to_attack(units):
    judged = analysed("security", "--offline=yes", "--threshold=20", "--no-pager", str(units / "mnist-batch.service"))
    assert judged.returncode == 0, judged.stdout
