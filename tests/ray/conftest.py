"""What tests of this folder share: a private Ray cluster."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", name="ray_cluster")
def _ray_cluster() -> Iterator[None]:
    from actors.cluster import ray_cluster
    from conf.schema import Config

    with ray_cluster(Config(), print):
        yield
