"""The locks install on every supported Python: a dry run of `make setup` against the registry, for the platform of the locks."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conf.load import ROOT

VERSIONS = ("3.11", "3.12", "3.13")
PLATFORM = "x86_64-manylinux_2_28"
UNREACHABLE = ("error sending request", "Failed to fetch", "dns error", "Could not connect")


def dry_run(lock: str, version: str, folder: Path, *options: str) -> str:
    """What uv says against the installation of a lock on this version of Python; "" if nothing.

    Skips if the registry is unreachable.
    """
    bin_ = Path(sys.executable).parent
    if not (bin_ / "uv").is_file():
        pytest.skip(f"needs uv, which `make setup` installs, and {bin_} has none")
    target = ["--target", str(folder), "--python-version", version, "--python-platform", PLATFORM]
    command = ["sh", "locks/install.sh", lock, "--dry-run", *target, *options]
    environment = os.environ | {"VENV": str(bin_.parent), "UV_HTTP_RETRIES": "0"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    if run.returncode and any(sign in run.stderr for sign in UNREACHABLE):
        pytest.skip(f"no package registry is reachable: {run.stderr.strip().splitlines()[0]}")
    assert run.returncode == 0 or run.stderr
    return run.stderr if run.returncode else ""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("lock", ["cpu", "gpu"])
def test_a_lock_installs_on_every_supported_python(lock: str, version: str, tmp_path: Path) -> None:
    options = []
    if lock == "cpu" and version != "{}.{}".format(*sys.version_info):
        # The CPU builds of torch are in a registry of their own, of which a machine may hold only that for its own Python.
        (tmp_path / "overrides.txt").write_text("torch ; sys_platform == 'never'\n")
        options = ["--overrides", str(tmp_path / "overrides.txt")]
    assert dry_run(lock, version, tmp_path / "packages", *options) == ""


def test_the_versions_tried_are_the_supported_ones() -> None:
    assert 'requires-python = ">=3.11,<3.14"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("config", "environment", "expected"),
    [
        ("[global]\nindex-url = https://one/simple\nfind-links = /a\n  /b\n", {}, "/a /b|https://one/simple"),
        ("[global]\nindex-url = https://one\n[install]\nindex-url = https://two\n", {"PIP_FIND_LINKS": "/c"}, "/c|https://two"),
        ("[install]\nindex-url = https://two\n", {"PIP_INDEX_URL": "https://three"}, "|https://three"),
    ],
)
def test_uv_installs_from_where_pip_does(config: str, environment: dict[str, str], expected: str, tmp_path: Path) -> None:
    """Whatever file the configuration is in: here the machine's, of which `pip config get` knows nothing."""
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "pip.conf").write_text(config)
    others = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    script = 'set -eu; . locks/registry.sh; echo "$links|${UV_DEFAULT_INDEX:-}"'
    said = subprocess.run(
        ["sh", "-c", script],
        cwd=ROOT,
        env=others
        | {"XDG_CONFIG_DIRS": str(tmp_path), "HOME": str(tmp_path), "bin": str(Path(sys.executable).parent)}
        | environment,
        capture_output=True,
        text=True,
    )
    assert (said.stdout.strip(), said.stderr) == (expected, "")


@pytest.mark.parametrize(("installed", "asked"), [("cpu", "gpu"), ("gpu", "cpu")])
def test_an_environment_for_the_other_device_is_left_alone(installed: str, asked: str, tmp_path: Path) -> None:
    """Both vLLMs have the same folder."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "locks", tmp_path / "locks")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / f".installed-{installed}").touch()
    command = ["make", "check", f"EXTRA={asked}", f"PYTHON={sys.executable}"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert said.returncode == 2
    assert f"error: EXTRA={asked}: .venv is installed for {installed} and cannot hold both; valid: make clean" in said.stderr
    assert [path.name for path in (tmp_path / ".venv").iterdir()] == [f".installed-{installed}"]
