"""The job under a real cron, which mails all output of a job: `make test-cron`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from reliability.readers import set_in

pytestmark = pytest.mark.skipif("MNIST_BATCH_CRON" not in os.environ, reason="takes three minutes: make test-cron")
LIMIT_SECONDS = 400

# The real job with a delay of 2.5 seconds per batch: 60 batches take more than two minutes.
SLOW = """#!{python}
import time
from mnist_batch.cli.app import run
from mnist_batch.cli.outcome import OutcomeReporter

check_interrupted = OutcomeReporter.check_interrupted
OutcomeReporter.check_interrupted = lambda reporter: time.sleep(2.5) or check_interrupted(reporter)
run()
"""
SENDMAIL = """#!/bin/sh
cat > {mails}/$(date +%s.%N)
"""
# The second entry proves that cron mails output.
CRONTAB = """
* * * * * {slow} predict {digits} --output {output} --rows-per-part 250 --quiet ; echo $? >> {codes}
* * * * * echo printed
"""
# Runs in a private mount namespace, so that the machine's own cron and mail stay untouched.
PRIVATE_CRON = """
mount -t tmpfs tmpfs /run
mount --bind {root}/sendmail /usr/sbin/sendmail
mount --bind {root}/crontabs /var/spool/cron/crontabs
mount --bind {root}/none /etc/cron.d
mount --bind /dev/null /etc/crontab
exec cron -f
"""


@pytest.fixture
def sendmail() -> Iterator[None]:
    """Creates the mount point for the fake sendmail on machines without mail."""
    path = Path("/usr/sbin/sendmail")
    missing = not path.exists()
    if missing:
        path.touch()
    yield
    if missing:
        path.unlink()


def write_program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.usefixtures("sendmail")
def test_overlapping_starts_exit_75_silently(sample_data: Path, tmp_path: Path) -> None:
    assert shutil.which("cron"), "needs Debian's cron: apt-get install cron"
    for folder in ("mails", "crontabs", "none"):
        (tmp_path / folder).mkdir()
    pixels = (sample_data / "digits-images-idx3-ubyte").read_bytes()[16:]
    digits, output, codes = tmp_path / "digits.idx", tmp_path / "out", tmp_path / "codes"
    digits.write_bytes(b"\0\0\x08\x03" + (15_000).to_bytes(4, "big") + (28).to_bytes(4, "big") * 2 + pixels * 50)
    slow = write_program(tmp_path / "slow", SLOW.format(python=sys.executable))
    write_program(tmp_path / "sendmail", SENDMAIL.format(mails=tmp_path / "mails"))
    crontab = tmp_path / "crontabs" / "root"
    crontab.write_text(CRONTAB.format(slow=slow, digits=digits, output=output, codes=codes))
    crontab.chmod(0o600)
    cron = subprocess.Popen(["unshare", "--mount", "sh", "-ec", PRIVATE_CRON.format(root=tmp_path)])
    try:
        deadline = time.monotonic() + LIMIT_SECONDS
        while "0\n" not in (lines := codes.read_text() if codes.exists() else ""):
            assert cron.poll() is None
            assert time.monotonic() < deadline, lines
            time.sleep(0.5)
    finally:
        cron.terminate()
        cron.wait()
    exit_codes = lines.split()
    assert exit_codes.count("0") == 1
    assert len(exit_codes) >= 3
    assert set(exit_codes) == {"0", "75"}
    mails = [path.read_text() for path in (tmp_path / "mails").iterdir()]
    assert len(mails) >= 2
    assert all(mail.splitlines()[-1] == "printed" for mail in mails)
    assert set_in(output) is not None
    assert sum(pq.read_metadata(part).num_rows for part in (output / "predictions").iterdir()) == 15_000
