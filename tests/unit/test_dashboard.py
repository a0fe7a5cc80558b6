"""The dashboard's command: what it refuses before it starts a server, and the addresses it prints."""

import socket
from urllib.parse import parse_qs, urlsplit

import pytest

from conf.load import ConfigError
from jobs.dashboard import HOST, check, page


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
        with pytest.raises(ConfigError, match=r"needs the full mlflow package|cannot be used on 127\.0\.0\.1"):
            check(taken.getsockname()[1], "sqlite:///mlruns/mlflow.db")
