"""What `make check` knows of a base model that is not on this machine: its config.json, without a download of the weights."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from conf.errors import ConfigError
from conf.load import load_config
from jobs.checks.base_model import BaseModel, find_base, hub_config, sets_finding
from pipeline.inputs import check_parts
from tests.hub import Hub, Repository
from tests.unit.test_memory import SHAPES

SIZES = SHAPES["Qwen/Qwen3-0.6B-Base"]


@pytest.fixture(name="hub")
def _hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as running:
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running


def base_of(path: str, *settings: str) -> BaseModel:
    config = load_config("one-gpu", [f"model.path={path}", *settings])
    return find_base(config, check_parts(config))


def test_the_models_of_the_profiles_need_no_network(hub: Hub) -> None:
    base = base_of("Qwen/Qwen3-0.6B-Base")
    assert (base.config, base.inputs, base.finding.level) == (SIZES, None, "ok")
    assert "conf/models.yaml" in base.finding.found
    assert hub.requests == []
    with pytest.raises(ConfigError, match="has 32768 positions"):
        base_of("Qwen/Qwen3-0.6B-Base", "model.max_length=40000")


def test_another_model_s_sizes_are_fetched_or_read_from_the_cache(hub: Hub, tmp_path: Path) -> None:
    hub.repositories["model", "me/base"] = Repository()
    hub.repositories["model", "me/base"].commit({"config.json": json.dumps(SIZES | {"num_hidden_layers": 3}).encode()})
    config, where = hub_config("me/base")
    assert config is not None
    assert (config["num_hidden_layers"], where) == (3, "the hub")
    cache = tmp_path / "cache" / "models--me--cached"
    (cache / "snapshots" / "abc").mkdir(parents=True)
    (cache / "snapshots" / "abc" / "config.json").write_text(json.dumps(SIZES))
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc")
    assert hub_config("me/cached") == (SIZES, "the hub's cache")
    (cache / "snapshots" / "abc" / "config.json").write_text("{")
    assert hub_config("me/cached")[0] is None


def test_a_model_that_is_nowhere_is_a_warning(hub: Hub) -> None:
    base = base_of("me/none")
    assert base.config is None
    assert base.finding.level == "warning"
    assert "me/none: not in the hub's cache, and the hub does not give its config.json (" in base.finding.found
    with pytest.raises(ConfigError, match="no such folder"):
        base_of("./none")


def test_held_out_sets_that_were_not_fetched_are_a_fault(tmp_path: Path) -> None:
    config = load_config("qwen3-4b", [f"evaluation.folder={tmp_path}"])
    assert sets_finding(config).level == "fault"
    assert "make benchmarks" in sets_finding(config).do
    assert sets_finding(load_config()).level == "ok"
