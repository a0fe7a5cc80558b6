"""Serves the recorded runs in MLflow's web interface, on loopback only.

    python -m jobs.dashboard --port 5000

Needs the full `mlflow` package (the extra `dashboard`); training uses `mlflow-skinny`.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import quote, urlencode

from conf.errors import ConfigError
from conf.schema import Config
from jobs.cli import command
from pipeline.errors import RunError
from pipeline.observe.terminal import say
from pipeline.observe.tracking import open_store

HOST = "127.0.0.1"
READY_S = 120.0
STOP_S = 10.0


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 stopped by Ctrl-C, 1 the server failed, 2 an argument cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m jobs.dashboard", description="Serve the recorded runs on loopback.")
    parser.add_argument("--port", type=int, default=5000, help="port on 127.0.0.1 (default: %(default)s)")
    parser.add_argument("--tracking-uri", default=Config.tracking_uri, help="sqlite:///<file> (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    check(chosen.port, chosen.tracking_uri)
    _, experiment_id = open_store(chosen.tracking_uri)  # creates the store if necessary, so that runs can start later
    serve(chosen.port, chosen.tracking_uri, experiment_id)
    return 0


def check(port: int, tracking_uri: str) -> None:
    """Raises ConfigError, which says what to do, if the server cannot run."""
    if not tracking_uri.startswith("sqlite:///"):
        raise ConfigError(f"--tracking-uri={tracking_uri}: valid: sqlite:///<file> (a server has its own web interface)")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: a recently closed port is free
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise ConfigError(f"--port={port}: cannot be used on {HOST} ({error}); valid: a port that is free") from error
    try:
        version("mlflow")
    except PackageNotFoundError as error:
        raise ConfigError(
            "the dashboard needs the full mlflow package; valid: `make dashboard`, which installs it first"
        ) from error


def page(port: int, experiment_id: str, level: str, **order: str) -> str:
    """The URL of the charts of all runs of one level (run, round or phase). The plain URL opens on chats and traces."""
    query = {"searchFilter": f"tags.level = '{level}'", "startTime": "ALL", "compareRunsMode": "CHART", **order}
    query["workflowType"] = "machine_learning"
    return f"http://{HOST}:{port}/#/experiments/{experiment_id}/runs?{urlencode(query, quote_via=quote)}"


def serve(port: int, tracking_uri: str, experiment_id: str) -> None:
    """Runs the server until Ctrl-C or SIGTERM, then stops it and its child processes."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    started = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking_uri, "--host", HOST, "--port", str(port)]
    # One worker, and no job queue: two processes and 0.5 GB instead of ten and 1.8 GB by default.
    started += ["--workers", "1", "--uvicorn-opts", "--log-level warning"]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    say("starting the MLflow server")
    server = subprocess.Popen(started, env=environment, start_new_session=True)
    try:
        wait_until_ready(server, port)
        say(f"dashboard: {page(port, experiment_id, 'run')} (Ctrl-C stops it)")
        best = page(port, experiment_id, "round", orderByKey="metrics.`heldout_sampled`", orderByAsc="false")
        say(f"the best rounds: {best}")
        server.wait()
    except KeyboardInterrupt:
        say("dashboard stopped")
    finally:
        stop(server)
    if server.returncode > 0:
        raise RunError(f"the MLflow server ended with exit code {server.returncode}")


def wait_until_ready(server: subprocess.Popen[bytes], port: int) -> None:
    """Returns once the server listens, or has exited. Raises RunError after READY_S seconds."""
    deadline = time.monotonic() + READY_S
    while server.poll() is None:
        with suppress(OSError), socket.create_connection((HOST, port), timeout=5):
            return
        if time.monotonic() > deadline:
            raise RunError(f"the MLflow server did not respond on port {port} within {READY_S:.0f} s")
        time.sleep(0.2)


def stop(server: subprocess.Popen[bytes]) -> None:
    """Terminates the server's process group, and kills it if necessary. The group contains only the server and its children."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave the server running
    with suppress(ProcessLookupError):  # the group has exited
        os.killpg(server.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            server.wait(STOP_S)
        os.killpg(server.pid, signal.SIGKILL)  # processes that outlived the server or STOP_S
    server.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
