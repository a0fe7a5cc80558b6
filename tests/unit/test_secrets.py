"""Passwords and tokens: refused in settings, which are kept, and hidden in messages, which end in logs."""

import json
from pathlib import Path

import pytest
from huggingface_hub import constants

from conf.errors import ConfigError
from conf.load import load_config
from jobs import best, check, round, submit
from pipeline.observe.terminal import printable, say
from pipeline.store.hub import explain

SECRET = "s3cretOfTheTest"
ADDRESS = f"http://me:{SECRET}@tracking:5000"
TOKEN = f"hf_{SECRET}{SECRET}"
SETTINGS = [
    f"tracking_uri={ADDRESS}",
    f"tracking_uri=https://me:{SECRET}/{SECRET}@tracking",
    f"tracking_uri=https://{SECRET}@tracking:5000/mlflow",
    f"model.path=https://me:{TOKEN}@hub/owner/name",
    f"model.path={TOKEN}",
    f"evaluation.sets=[math500,https://me:{SECRET}@hub/set.jsonl]",
    f"evaluation={{folder: 'ftp://me:{SECRET}@data'}}",
    f"reward.scorers=[https://{SECRET}@hub/mine.py:mine]",
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_with_a_secret_is_refused_without_showing_it(setting: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config("tiny", [setting])
    assert SECRET not in str(refused.value)
    assert "holds a password or a token" in str(refused.value)


def test_addresses_without_one_are_not() -> None:
    for uri in ("sqlite:////home/me@work/mlflow.db", "http://tracking:5000/a", "sqlite:///here/me@work.db"):
        assert load_config("tiny", [f"tracking_uri={uri}"]).tracking_uri == uri


@pytest.mark.parametrize(
    "setting", [*SETTINGS[:2], f"no.such.setting={ADDRESS}", f"seed={ADDRESS}", ADDRESS, f"rollout.transfer={TOKEN}"]
)
@pytest.mark.parametrize("command", [round, check, submit])
def test_no_command_shows_it(command, setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--set", f"runs_dir={tmp_path}", setting]) == 2
    output = capsys.readouterr()
    assert output.err.startswith("error: ")
    assert SECRET not in output.out + output.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("address", [ADDRESS, f"https://me:{SECRET}@127.0.0.1:9", f"ray://me:{SECRET}@head:10001"])
def test_no_address_of_a_cluster_or_store_shows_it(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address.replace("tracking", "127.0.0.1").replace(":5000", ":9"))
    assert submit.main([]) == 2
    assert best.main(["--tracking-uri", f"sqlite:///{address}"]) == 2
    output = capsys.readouterr()
    assert "error: RAY_ADDRESS=" in output.err
    assert SECRET not in output.out + output.err
    assert SECRET not in submit.how_to(address, "job", "follow it")


def test_what_is_said_of_the_hub_and_on_the_terminal_hides_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", f"https://me:{SECRET}@hub")
    failure = OSError(f"Connection refused for url: https://me:{SECRET}@hub/api/datasets/a")
    for error in (failure, json.JSONDecodeError("no", "", 0)):
        assert SECRET not in explain(error, "owner/name")
    say(f"warning: {ADDRESS} and {TOKEN}")
    output = capsys.readouterr().out
    assert "http://...@tracking:5000 and hf_..." in output
    assert SECRET not in output


def test_hostile_text_is_searched_in_no_time() -> None:
    assert printable("://" * 100_000, 2000).startswith("://")
