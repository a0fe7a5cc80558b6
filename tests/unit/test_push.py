"""Pushing policies and curricula to a hub on loopback: what goes, with which card, and what is refused."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from huggingface_hub import ModelCard, constants

from jobs.push import main
from pipeline.observe.cards import curriculum_card, hub_base, policy_card
from pipeline.observe.report.data import read_accuracy
from pipeline.observe.report.intervals import wilson
from pipeline.store.checksums import write_checksums
from pipeline.store.manifest import read_manifest
from tests.hub import TOKEN, Hub
from tests.made_runs import made_config, write_run

WEIGHTS = b"\x00" * 3000


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # what the hub on loopback speaks is LFS
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two rounds with the folders of its policies."""
    folder = write_run(made_config(tmp_path), rounds=2)
    for number in (1, 2):
        for role in ("solver", "challenger"):
            policy = folder / f"round-{number}" / role / "policy"
            policy.mkdir(parents=True, exist_ok=True)
            (policy / "model.safetensors").write_bytes(WEIGHTS + f"{role} {number}".encode())
            (policy / "config.json").write_text("{}")
            (policy / "README.md").write_text("the base model's own")
    return folder


def pushing(run: Path, *more: str, round_: int = 2) -> list[str]:
    return ["--run", run.name, "--runs-dir", str(run.parent), "--round", str(round_), "--repo", "me/r-zero", *more]


def test_a_policy_goes_to_a_private_repository_in_one_commit(run: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(pushing(run)) == 0
    repository = hub.repositories["model", "me/r-zero"]
    assert repository.private
    assert len(repository.commits) == 1
    files = hub.files("model", "me/r-zero")
    assert sorted(files) == ["README.md", "config.json", "model.safetensors"]
    assert files["model.safetensors"] == WEIGHTS + b"solver 2"
    assert b"# made, round 2: Solver" in files["README.md"]
    assert list(hub.large.values()) == [WEIGHTS + b"solver 2"]
    assert capsys.readouterr().out == f"pushed 3 files to {hub.url}/me/r-zero\n"


def test_a_challenger_and_a_public_repository(run: Path, hub: Hub) -> None:
    assert main(pushing(run, "--what", "challenger", "--public", round_=1)) == 0
    assert not hub.repositories["model", "me/r-zero"].private
    assert hub.files("model", "me/r-zero")["model.safetensors"] == WEIGHTS + b"challenger 1"


def test_a_curriculum_goes_as_a_data_set(run: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(pushing(run, "--what", "curriculum")) == 0
    files = hub.files("dataset", "me/r-zero")
    assert files["curriculum.parquet"] == (run / "round-2" / "curriculum.parquet").read_bytes()
    assert sorted(files) == ["README.md", "curriculum.parquet"]
    assert capsys.readouterr().out == f"pushed 2 files to {hub.url}/datasets/me/r-zero\n"


def test_a_second_push_adds_a_commit_to_the_private_repository(run: Path, hub: Hub) -> None:
    assert main(pushing(run, round_=1)) == 0
    assert main(pushing(run)) == 0
    assert len(hub.repositories["model", "me/r-zero"].commits) == 2
    assert hub.repositories["model", "me/r-zero"].private


def test_a_repository_that_is_public_already_needs_public(run: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(pushing(run, "--public")) == 0
    assert main(pushing(run, round_=1)) == 2
    assert "REPO=me/r-zero: exists and is public; valid: PUBLIC=1" in capsys.readouterr().err
    assert len(hub.repositories["model", "me/r-zero"].commits) == 1


def test_a_dry_run_shows_files_and_card_and_asks_nothing(
    run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert main(pushing(run, "--dry")) == 0
    shown = capsys.readouterr().out
    assert "would be sent to the private model repository me/r-zero:" in shown
    assert "3.0 kB  model.safetensors" in shown
    assert "# made, round 2: Solver" in shown
    assert not hub.requests


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--round", "7"], "ROUND=7: run 'made' has no solver of that round; valid: 1, 2."),
        (["--round", "0", "--what", "curriculum"], "ROUND=0: run 'made' has no curriculum of that round; valid: 1, 2."),
        (["--run", "other"], "RUN=other: no such run in "),
        (["--repo", "r-zero"], "REPO=r-zero: not a repository id; valid: owner/name"),
        (["--repo", "a/b/c"], "REPO=a/b/c: not a repository id; valid: owner/name"),
    ],
)
def test_what_cannot_be_pushed_is_told_in_one_line(
    arguments: list[str], message: str, run: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(pushing(run, *arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")
    assert not hub.requests


def test_a_policy_whose_folder_is_gone_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "round-2" / "solver" / "policy").rename(run / "elsewhere")
    assert main(pushing(run, "--dry")) == 2
    assert "ROUND=2: run 'made' has no solver of that round; valid: 1." in capsys.readouterr().err


def test_what_is_damaged_is_not_sent(run: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    weights = run / "round-2" / "solver" / "policy" / "model.safetensors"
    write_checksums(weights.parent)
    assert main(pushing(run)) == 0
    sent = len(hub.requests)
    for path, what in ((weights, "solver"), (run / "round-2" / "curriculum.parquet", "curriculum")):
        content = bytearray(path.read_bytes())
        content[len(content) // 4] ^= 1
        path.write_bytes(content)
        capsys.readouterr()
        assert main(pushing(run, "--what", what)) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {path} is ")
        assert "restore" in line
    assert len(hub.requests) == sent


def test_without_a_token_nothing_is_sent(
    run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert main(pushing(run)) == 2
    assert capsys.readouterr().err == "error: no token for the Hub; set HF_TOKEN, or run `hf auth login`.\n"
    assert not hub.requests


def test_a_token_that_is_not_accepted(
    run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert main(pushing(run)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: me/r-zero: the token is not accepted")


def test_a_hub_that_is_not_there(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with Hub() as ended:
        pass
    monkeypatch.setattr(constants, "ENDPOINT", ended.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert main(pushing(run)) == 1
    assert f"me/r-zero: {ended.url} cannot be reached" in capsys.readouterr().err


# --- cards


def test_a_policys_card_holds_its_figures_with_their_intervals(run: Path) -> None:
    figures = {number: read_accuracy(["heldout"], run / f"round-{number}" / "evaluation") for number in (0, 2)}
    card = policy_card(read_manifest(run), "solver", 2, figures, "me/base")
    assert ModelCard(card).data.to_dict() == {
        "base_model": "me/base",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["r-zero", "grpo", "self-play"],
    }
    low, high = wilson(3, 3)
    before, after = wilson(1, 3), f"100.0 ({100 * low:.1f} to {100 * high:.1f})"
    assert f"| heldout | 3 | greedy | 33.3 ({100 * before[0]:.1f} to {100 * before[1]:.1f}) | {after} |" in card
    assert "| heldout | 3 | mean@4 | " in card
    assert "| heldout_transfer | 1 | majority@4 | " in card
    assert "| 2 | 9 | 8 | 8 | 3 | 50.0 |" in card
    assert "at temperature 1 and top-p 1" in card
    assert "| grpo.clip_high | 0.28 |" in card
    assert "## What it is not" in card
    manifest = read_manifest(run)
    manifest.rounds[0].evaluation.sets["heldout"].samples = 8  # the base is no comparison then
    assert f"| heldout | 3 | greedy | - | {after} |" in policy_card(manifest, "solver", 2, figures, "me/base")


def test_no_path_of_the_machine_gets_into_a_card(run: Path) -> None:
    manifest = read_manifest(run)
    manifest.config["model"]["path"] = "/home/somebody/models/base"
    manifest.config["reward"] |= {
        "scorers": ["triangular", "/home/somebody/short.py:short"],
        "grader": "/home/somebody/g.py:Mine",
    }
    for card in (policy_card(manifest, "challenger", 1, {}, None), curriculum_card(manifest, 1)):
        assert "somebody" not in card
        assert str(run.parent) not in card
        assert "short.py:short" in card
        assert "g.py:Mine" in card
    assert "| base model | base, a local folder |" in policy_card(manifest, "solver", 1, {}, None)


def test_a_round_without_an_evaluation_or_an_oracle_says_so(run: Path) -> None:
    manifest = read_manifest(run)
    manifest.rounds[1].curriculum.label_accuracy = None
    card = policy_card(manifest, "solver", 1, {}, None)
    assert "This round was not evaluated." in card
    assert "| 1 | 9 | 8 | 8 | 3 | unknown |" in card


def test_a_curriculums_card_names_its_columns(run: Path) -> None:
    card = curriculum_card(read_manifest(run), 2)
    columns = pq.read_schema(run / "round-2" / "curriculum.parquet").names
    assert all(f"`{name}`" in card for name in columns)
    assert "data_files: curriculum.parquet" in card
    assert "with 4 answers of the Solver to each" in card
    assert "has a share within 0.25 of one half, unless most of the Solver's verdicts" in card
    manifest = read_manifest(run)
    manifest.config["curriculum"] |= {"keep": [2, 3], "agreement": 1}
    card = curriculum_card(manifest, 2)
    assert "has 2 to 3 votes, unless most of the Solver's verdicts" in card
    assert "and where it passed the further rules below" in card


@pytest.mark.parametrize(
    ("path", "known"), [("Qwen/Qwen3-4B-Base", True), ("assets/tiny-base", False), ("/models/base", False), ("../a/b", False)]
)
def test_what_a_hub_id_is(path: str, known: bool) -> None:
    assert hub_base(path) == (path if known else None)
