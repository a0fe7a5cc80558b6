"""`make check` as a user runs it, with a trial of the tiny base on one engine."""

import os
import re
import subprocess
import sys

from actors.cluster import ROOT


def test_the_tiny_base_is_tried_and_found_ready() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-m", "jobs.check", "--try", "--set", "rollout.kv_cache_mb=64", "evaluation.sets=[]"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = {name: text for name, text in re.findall(r"^  ok +([\w -]+): (.*)$", ended.stdout, re.MULTILINE)}
    well_formed = re.match(r"(\d+) of 64 well-formed \(\d+%\), \d+% cut off", lines["questions"])
    assert well_formed
    assert int(well_formed[1]) > 56
    assert re.match(r"\d+% of 64 in a box", lines["answers"])
    counts = [int(count) for count in re.findall(r"\d\.\d\d: (\d+)", lines["p-hat"])]
    assert len(counts) == 5
    assert sum(counts) == 16
    assert re.search(r"about \d+ k tokens \(measured\), [\d.]+ minutes of sampling at [\d,]+ tokens/s", lines["a round"])
    assert ended.stdout.count("\n  well-formed ") + ended.stdout.count("\n  cut off ") + ended.stdout.count("\n  malformed ") == 5
    assert ended.stdout.endswith("next: make round SET='rollout.kv_cache_mb=64 evaluation.sets=[]'\n")
