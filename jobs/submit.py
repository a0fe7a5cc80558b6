"""Runs co-evolution rounds on a Ray cluster: `make submit ITER=3 PROFILE=qwen3-4b RAY_ADDRESS=http://head:8265`.

The job is `python -m jobs.round` with the same options. The code is uploaded; results, and models or data outside the
code's folders, are not: their paths are made absolute and must refer to the same place here and on every node of the cluster.
"""

import asyncio
import logging
import os
import shlex
import signal
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from conf.errors import ConfigError
from conf.load import ROOT, list_override, load_config, resolve
from conf.schema import Config
from conf.secrets import without_credentials
from jobs.cli import command
from jobs.round import overrides, parse, settings
from pipeline.domain.prompt_file import OWN
from pipeline.errors import RunError
from pipeline.inputs import read_prompts

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

# Folders of the repository that a job needs. Nothing else is uploaded: not the environment, not earlier runs.
UPLOADED = ("actors", "assets", "conf", "examples", "jobs", "pipeline")
SQLITE = "sqlite:///"
CONNECT_TIMEOUT_S = 10


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: the job's own, 2 if nothing was submitted.

    Where following ends before the job, which keeps running: 1 the connection was lost, 130 or 143 interrupted.
    """
    entry, config = entrypoint(parse(arguments, "jobs.submit"))
    address = cluster_address()
    client, job = submit(address, entry)
    print(f"job {job} was submitted to {without_credentials(address)}")
    print(f"results go to {Path(config.runs_dir) / config.name} on the cluster")
    print(how_to(address, job, "Ctrl-C stops following; the job keeps running. Then"), flush=True)
    from aiohttp import ClientError  # imported late: with ray

    try:
        return asyncio.run(follow(client, address, job))
    except (KeyboardInterrupt, SystemExit) as end:
        print(how_to(address, job, f"\njob {job} keeps running"), file=sys.stderr)
        return 130 if isinstance(end, KeyboardInterrupt) else 128 + signal.SIGTERM
    except (RuntimeError, OSError, ClientError) as error:  # of Ray's client, requests and aiohttp
        raise RunError(how_to(address, job, f"the connection was lost ({error}); job {job} keeps running")) from error


def how_to(address: str, job: str, first: str) -> str:
    """`first`, then the commands to follow and stop the job."""
    program = Path(sys.executable).with_name("ray")
    short = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program
    ray = f"RAY_ADDRESS={without_credentials(address)} {short}"
    return f"{first}\n  follow it: {ray} job logs --follow {job}\n  stop it:   {ray} job stop {job}"


def entrypoint(options: Namespace) -> tuple[str, Config]:
    """The job's command line, and its settings with paths as on the cluster.

    Raises:
        ConfigError: a setting is invalid, or the prompts are.
    """
    moved = [*overrides(options), *relocations(settings(options))]
    profile = on_cluster(options.profile) if options.profile.endswith((".yaml", ".yml")) else options.profile
    command = ["python", "-m", "jobs.round", "--iter", str(options.iter), "--profile", profile, "--set", *moved]
    return shlex.join(command), load_config(options.profile, moved)


def relocations(config: Config) -> Iterator[str]:
    """Overrides for paths that would be wrong in the job's working directory, a temporary copy of the code."""
    scorers = [named_on_cluster(scorer) for scorer in config.reward.scorers]
    if scorers != list(config.reward.scorers):
        yield list_override("reward.scorers", scorers)
    if (grader := named_on_cluster(config.reward.grader)) != config.reward.grader:
        yield f"reward.grader={grader}"
    paths = {"evaluation.folder": config.evaluation.folder}
    sets = [on_cluster(each) if resolve(each).is_file() else each for each in config.evaluation.sets]
    if sets != config.evaluation.sets:
        yield list_override("evaluation.sets", sets)
    if resolve(config.model.path).is_dir():  # else it is a hub id
        paths["model.path"] = config.model.path
    moved = {setting: on_cluster(path) for setting, path in paths.items()}
    paths["prompts"], moved["prompts"] = config.prompts, prompts_on_cluster(config)
    paths["runs_dir"], moved["runs_dir"] = config.runs_dir, str(Path(config.runs_dir).absolute())
    if config.tracking_uri.startswith(SQLITE):
        database = Path(config.tracking_uri.removeprefix(SQLITE)).absolute()
        paths["tracking_uri"], moved["tracking_uri"] = config.tracking_uri, f"{SQLITE}{database}"
    yield from (f"{setting}={path}" for setting, path in moved.items() if path != paths[setting])


def prompts_on_cluster(config: Config) -> str:
    """The path of the prompts file, absolute also where only the file of its examples, found from its folder, is not uploaded.

    Raises:
        ConfigError: one of the files is missing or invalid.
    """
    source, path = read_prompts(config).challenger.source, resolve(config.prompts).absolute()
    if source is not None and source.file != OWN and Path(on_cluster(str(path.parent / source.file))).is_absolute():
        return str(path)
    return on_cluster(config.prompts)


def named_on_cluster(name: str) -> str:
    """The name of a scorer or grader; for a custom one, `file.py:name`, with the path on the cluster."""
    file, colon, attribute = name.rpartition(":")
    return f"{on_cluster(file)}:{attribute}" if colon else name


def on_cluster(path: str) -> str:
    """A path on the cluster: relative to the repository if the file is uploaded with the code, else absolute."""
    absolute = Path(os.path.normpath(resolve(path).absolute()))  # without `..`, but links keep their names
    if absolute.is_relative_to(ROOT) and absolute.relative_to(ROOT).parts[0] in UPLOADED:
        return str(absolute.relative_to(ROOT))
    return str(absolute)


def cluster_address() -> str:
    """RAY_ADDRESS, the HTTP address of the cluster's dashboard, which serves the job API.

    Raises:
        ConfigError: it is not set or not an HTTP address.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    if not address.startswith(("http://", "https://")):
        raise ConfigError(
            f"RAY_ADDRESS={address}: not the address of a cluster; valid: that of its dashboard, for example "
            "RAY_ADDRESS=http://head:8265 (without a cluster: make round)."
        )
    return address


def submit(address: str, command: str) -> tuple["JobSubmissionClient", str]:
    """Uploads the code and starts the job; returns a client of the job API at `address`, and the job's id.

    Raises:
        ConfigError: no Ray dashboard responds there, or it rejected the job.
    """
    # Ray sends the token only if the mode is set too.
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    # Imported late: ray reads its settings while it is imported, and takes seconds.
    import requests
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    logging.disable(logging.WARNING)  # Ray would log every excluded folder; errors are raised, not logged
    excludes = [f"/{entry.name}" for entry in ROOT.iterdir() if entry.name not in UPLOADED]
    try:
        requests.get(f"{address.rstrip('/')}/api/version", timeout=CONNECT_TIMEOUT_S)  # Ray's client would wait for minutes
        client = JobSubmissionClient(address)
        return client, client.submit_job(entrypoint=command, runtime_env={"working_dir": str(ROOT), "excludes": excludes})
    except AuthenticationError as error:
        raise ConfigError(
            f"RAY_ADDRESS={address}: the cluster requires a token, and none or a wrong one was sent; valid: "
            "RAY_AUTH_TOKEN=<token> or RAY_AUTH_TOKEN_PATH=<file with it>, the one its head was started with."
        ) from error
    except (requests.RequestException, ConnectionError) as error:
        raise ConfigError(f"RAY_ADDRESS={address}: no Ray dashboard responds there ({error}).") from error
    except RuntimeError as error:  # raised by Ray's client for any other response
        raise ConfigError(f"RAY_ADDRESS={address}: the cluster rejected the job: {error}") from error


async def follow(client: "JobSubmissionClient", address: str, job: str) -> int:
    """Prints the job's log as it grows; returns the job's exit status."""
    from ray.job_submission import JobStatus

    async for lines in client.tail_job_logs(job):
        print(lines, end="", flush=True)
    info = client.get_job_info(job)
    print(f"job {job}: {info.status.lower()}", file=sys.stderr)
    if info.status == JobStatus.SUCCEEDED:
        return 0
    if not info.status.is_terminal():
        print(how_to(address, job, f"the log ended early, but job {job} keeps running"), file=sys.stderr)
    elif info.status == JobStatus.FAILED and info.driver_exit_code is None:  # it never started, so the log has no error
        print(f"error: {info.message}", file=sys.stderr)
    return max(1, info.driver_exit_code or 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
