"""The dashboard's command: what it refuses before it starts a server, and the addresses it prints."""

import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest

from conf.errors import ConfigError
from conf.load import ROOT
from jobs.dashboard import HOST, check, page
from tests.watch import Watch


def test_the_address_leads_to_runs_of_one_level() -> None:
    address = urlsplit(page(5000, "1", "round", orderByKey="metrics.`heldout_sampled`", orderByAsc="false"))
    assert (address.netloc, address.path) == ("127.0.0.1:5000", "/")
    place, _, query = address.fragment.partition("?")
    assert place == "/experiments/1/runs"
    view = parse_qs(query)
    assert view["searchFilter"] == ["tags.level = 'round'"]
    assert view["orderByKey"] == ["metrics.`heldout_sampled`"]
    assert view["workflowType"] == ["machine_learning"]


def test_a_port_in_use_and_a_server_of_its_own_are_told() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        with pytest.raises(ConfigError, match="has its own web interface"):
            check(0, "http://tracking:5000")
        with pytest.raises(ConfigError, match=r"cannot be used on 127\.0\.0\.1"):
            check(taken.getsockname()[1], "sqlite:///mlruns/mlflow.db")


def answers(port: int) -> bool:
    try:
        return bool(urlopen(f"http://{HOST}:{port}/health", timeout=5).status == 200)
    except OSError:
        return False


@pytest.mark.skipif(find_spec("flask") is None, reason="needs the full mlflow package: make dashboard")
def test_the_server_listens_on_loopback_alone(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jobs.dashboard", "--port", str(port), "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db"]
    with subprocess.Popen(command, cwd=ROOT) as dashboard, Watch(dashboard.pid) as watch:
        deadline = time.monotonic() + 120
        while not (watch.listening and answers(port)):
            assert dashboard.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)  # polls for its first reply
        dashboard.send_signal(signal.SIGINT)
        dashboard.wait(60)
    assert set().union(*watch.listening.values()) == {HOST}
