"""The units, as `systemd-analyze` judges them. Nothing is started."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

JOBS = Path(__file__).parent.parent.parent / "jobs"
pytestmark = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="needs systemd-analyze: apt-get install systemd"
)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A folder with the units, changed only to name the project's real path."""
    for unit in (JOBS / "systemd").iterdir():
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/mnist-batch/jobs", str(JOBS)))
    return tmp_path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


def test_units_pass_verification(units: Path) -> None:
    run = analyze("verify", *map(str, sorted(units.iterdir())))
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_verification_finds_a_fault(units: Path) -> None:
    service = units / "mnist-batch.service"
    service.write_text(service.read_text().replace("TimeoutStopSec=30s", "TimeoutStopSec=soon"))
    assert "Failed to parse" in analyze("verify", str(service)).stderr


def test_service_exposure_is_low(units: Path) -> None:
    run = analyze("security", "--offline=yes", "--threshold=20", "--no-pager", str(units / "mnist-batch.service"))
    assert run.returncode == 0, run.stdout
