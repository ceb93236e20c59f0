"""Steps and the service are killed, and robbed of what they need; run again, nothing is lost, doubled, altered or leaked."""

import os
import re
import subprocess
import sys

from tests.support.paths import REPOSITORY

# what | trials | failed | lost | doubled | altered | leaked
LINE = re.compile(r"^\| (?P<what>[^|]+) \| (?P<trials>\d+) \| (?P<counts>\d+ \| \d+ \| \d+ \| \d+ \| \d+) \|$", re.MULTILINE)
KILLED = ("extract", "audit", "publish", "score", "measure", "decide", "tell_decision", "verify", "fill_online", "collect")
AWAY = ("source dies", "source ends", "predictions dies", "clock jumps", "mail server away", "registry's file", "ledger's file")


def test_one_trial_of_each_kind_but_those_of_a_training_leaves_everything_as_without_fault() -> None:
    command = [sys.executable, "-m", "benchmarks.recovery", "--short"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=600)
    lines = {found["what"]: found for found in LINE.finditer(done.stdout)}
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert {found["counts"] for found in lines.values()} == {"0 | 0 | 0 | 0 | 0"}, done.stdout
    tried = [what for what, found in lines.items() if found["trials"] == "1"]
    for name in (*(f"`{step}` killed" for step in KILLED), "service under requests killed", *AWAY):
        assert any(name in what for what in tried), (name, done.stdout)
    if "NOT TRIED: a full disk" not in done.stdout:
        assert "the disk full" in tried, done.stdout
