"""One private Ray cluster for all tests of this folder."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", name="ray_cluster")
def _ray_cluster() -> Iterator[None]:
    from actors.cluster import ray_cluster
    from conf.schema import Config

    with ray_cluster(Config(), print):
        yield
