"""What images and clusters are made of, checked without a container engine: KubeRay's schema, Ray's options, versions."""

import re
import shlex
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from conf.load import ROOT
from jobs.round import parse, settings
from jobs.submit import UPLOADED

SCHEMA = ROOT.parent / "shared" / "kuberay" / "ray.io_rayclusters.yaml"


def documents(file: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "jobs" / file).read_text()))


def cluster_spec() -> dict[str, Any]:
    (spec,) = [each["spec"] for each in documents("cluster.yaml") if each["kind"] == "RayCluster"]
    return spec


def strict(schema: Any) -> Any:
    """A Kubernetes schema that refuses unknown fields, which Kubernetes drops without a word."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed


@pytest.fixture(scope="module", name="kuberay")
def _kuberay() -> jsonschema.Draft202012Validator:
    if not SCHEMA.is_file():
        pytest.skip(f"needs KubeRay's schema of RayCluster, and there is none at {SCHEMA}")
    versions = yaml.safe_load(SCHEMA.read_text())["spec"]["versions"]
    (v1,) = [version["schema"]["openAPIV3Schema"] for version in versions if version["name"] == "v1"]
    return jsonschema.Draft202012Validator(strict(v1["properties"]["spec"]))


def test_the_cluster_fits_kuberays_schema(kuberay: jsonschema.Draft202012Validator) -> None:
    assert [error.message for error in kuberay.iter_errors(cluster_spec())] == []


@pytest.mark.parametrize("fault", ["unknown", "wrong type", "missing"])
def test_a_fault_in_the_cluster_is_seen(kuberay: jsonschema.Draft202012Validator, fault: str) -> None:
    spec = deepcopy(cluster_spec())
    if fault == "unknown":
        spec["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMount"] = []
    elif fault == "wrong type":
        spec["workerGroupSpecs"][0]["replicas"] = "1"
    else:
        del spec["workerGroupSpecs"][0]["groupName"]
    assert list(kuberay.iter_errors(spec))


def test_the_jobs_cluster_is_the_cluster() -> None:
    volume, job = documents("rayjob.yaml")
    assert job["spec"]["rayClusterSpec"] == cluster_spec()
    assert volume in documents("cluster.yaml")
    assert job["spec"]["shutdownAfterJobFinishes"]


def test_the_jobs_command_has_valid_settings() -> None:
    (job,) = [each for each in documents("rayjob.yaml") if each["kind"] == "RayJob"]
    python, option, module, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert (python, option, module) == ("python", "-m", "jobs.round")
    config = settings(parse(arguments, module))
    assert config.runs_dir.startswith("/shared/")
    assert config.tracking_uri.startswith("sqlite:////shared/")


def options(spec: Any) -> Iterator[dict[str, str]]:
    """All rayStartParams in a manifest."""
    for value in spec.values() if isinstance(spec, dict) else spec if isinstance(spec, list) else ():
        yield from options(value)
    if isinstance(spec, dict) and "rayStartParams" in spec:
        yield spec["rayStartParams"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray's own modules
def test_ray_start_knows_every_option() -> None:
    from ray.scripts.scripts import start

    known = {name for parameter in start.params for name in parameter.opts}
    given = [f"--{name}" for group in options(cluster_spec()) for name in group]
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    slurm = (ROOT / "jobs" / "slurm.sh").read_text().replace("\\\n", " ")
    commands = [compose["services"]["head"]["command"], *re.findall(r"ray start[^\n]*", slurm)]
    given += [word for command in commands for word in re.findall(r"--[a-z-]+", command)]
    assert len(given) > 10
    assert set(given) <= known


def locked(package: str) -> str:
    (version,) = re.findall(rf"^{re.escape(package)}==(\S+)$", (ROOT / "locks" / "gpu.txt").read_text(), re.MULTILINE)
    return version


@pytest.mark.parametrize("flavour", ["cpu", "gpu"])
def test_an_image_holds_all_code_and_its_own_lock(flavour: str) -> None:
    text = (ROOT / "docker" / f"Dockerfile.{flavour}").read_text()
    copied = set(re.findall(r"^COPY --chown=1000:1000 (\w+) \1$", text, re.MULTILINE))
    assert copied == {*UPLOADED, "locks"}
    assert f"make setup EXTRA={flavour}" in text
    ignore = (ROOT / "docker" / f"Dockerfile.{flavour}.dockerignore").read_text().split()
    kept = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert kept == copied | {"Makefile", "pyproject.toml"}
    assert all((ROOT / name).exists() for name in kept)


def test_images_have_the_versions_of_the_locks() -> None:
    cuda = re.search(r"nvidia/cuda:(\d+\.\d+)", (ROOT / "docker" / "Dockerfile.gpu").read_text())
    assert cuda is not None
    assert locked("nvidia-cuda-runtime").startswith(f"{cuda[1]}.")  # the one that torch is built for
    assert cluster_spec()["rayVersion"] == locked("ray")
    python = re.search(r"FROM python:(3\.\d+)", (ROOT / "docker" / "Dockerfile.cpu").read_text())
    assert python is not None
    assert python[1] in ("3.11", "3.12", "3.13")


def test_scripts_of_a_container_are_there() -> None:
    """`make setup` in an image needs what its scripts source."""
    for script in Path(ROOT, "locks").glob("*.sh"):
        for sourced in re.findall(r"^\. (\S+)$", script.read_text(), re.MULTILINE):
            assert (ROOT / sourced).is_file()
