"""What tests of this folder share: a private Ray cluster, and a round that nothing disturbs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.cluster import FOLDER_PREFIX, parent_folder
from tests.rounds import finish, start, wait_until_gone
from tests.watch import Watch


@pytest.fixture(scope="session", name="ray_cluster")
def _ray_cluster() -> Iterator[None]:
    from actors.cluster import ray_cluster
    from conf.schema import Config

    with ray_cluster(Config(), print):
        yield


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Watch]:
    """A run that nothing disturbs, watched all the time."""
    folder = tmp_path_factory.mktemp("undisturbed")
    process = start(folder)
    with Watch(process.pid) as watch:
        output = finish(process)
    wait_until_gone(process.pid)
    assert not list(parent_folder().glob(f"{FOLDER_PREFIX}{process.pid}-*"))
    return folder, output, watch


@pytest.fixture(scope="session")
def undisturbed(watched: tuple[Path, str, Watch]) -> tuple[Path, str]:
    return watched[:2]
