"""The job under a real cron, which mails whatever is printed: `make test-cron`."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from reliability.readers import set_in

pytestmark = pytest.mark.skipif("MNIST_BATCH_CRON" not in os.environ, reason="takes three minutes: make test-cron")
LIMIT_SECONDS = 400

# The real job, two and a half seconds a batch: of 60 batches it makes a run of more than two minutes.
SLOW = """#!{python}
import time
from mnist_batch.cli.app import run
from mnist_batch.cli.outcome import Ending

check = Ending.check
Ending.check = lambda ending: time.sleep(2.5) or check(ending)
run()
"""
SENDMAIL = """#!/bin/sh
cat > {mails}/$(date +%s.%N)
"""
# The second entry shows that what is printed is mailed.
CRONTAB = """
* * * * * {slow} predict {digits} --output {output} --rows-per-part 250 --quiet ; echo $? >> {codes}
* * * * * echo printed
"""
# In a mount namespace of its own nothing of the machine's own cron and mail is touched.
IN_PRIVATE = """
mount -t tmpfs tmpfs /run
mount --bind {root}/sendmail /usr/sbin/sendmail
mount --bind {root}/crontabs /var/spool/cron/crontabs
mount --bind {root}/none /etc/cron.d
mount --bind /dev/null /etc/crontab
exec cron -f
"""


@pytest.fixture
def sendmail():
    """Somewhere to mount the stand-in, on a machine without mail."""
    path = Path("/usr/sbin/sendmail")
    made = not path.exists()
    if made:
        path.touch()
    yield
    if made:
        path.unlink()


def program(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.usefixtures("sendmail")
def test_of_starts_every_minute_one_scores_the_others_exit_75_and_nobody_gets_mail(sample_data, tmp_path):
    assert shutil.which("cron"), "wants Debian's cron: apt-get install cron"
    for folder in ("mails", "crontabs", "none"):
        (tmp_path / folder).mkdir()
    pixels = (sample_data / "digits-images-idx3-ubyte").read_bytes()[16:]
    digits, output, codes = tmp_path / "digits.idx", tmp_path / "out", tmp_path / "codes"
    digits.write_bytes(b"\0\0\x08\x03" + (15_000).to_bytes(4, "big") + (28).to_bytes(4, "big") * 2 + pixels * 50)
    slow = program(tmp_path / "slow", SLOW.format(python=sys.executable))
    program(tmp_path / "sendmail", SENDMAIL.format(mails=tmp_path / "mails"))
    crontab = tmp_path / "crontabs" / "root"
    crontab.write_text(CRONTAB.format(slow=slow, digits=digits, output=output, codes=codes))
    crontab.chmod(0o600)
    cron = subprocess.Popen(["unshare", "--mount", "sh", "-ec", IN_PRIVATE.format(root=tmp_path)])
    try:
        deadline = time.monotonic() + LIMIT_SECONDS
        while "0\n" not in (said := codes.read_text() if codes.exists() else ""):
            assert cron.poll() is None
            assert time.monotonic() < deadline, said
            time.sleep(0.5)
    finally:
        cron.terminate()
        cron.wait()
    ended = said.split()
    assert ended.count("0") == 1
    assert len(ended) >= 3
    assert set(ended) == {"0", "75"}
    mails = [path.read_text() for path in (tmp_path / "mails").iterdir()]
    assert len(mails) >= 2
    assert all(mail.splitlines()[-1] == "printed" for mail in mails)
    assert set_in(output) is not None
    assert sum(pq.read_metadata(part).num_rows for part in (output / "predictions").iterdir()) == 15_000
