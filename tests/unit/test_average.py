"""The mean of several policies' weights."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs.average import main
from pipeline.store.checksums import damaged_file, write_checksums


def policy(folder: Path, **weights: torch.Tensor) -> str:
    folder.mkdir()
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("a card of one policy")
    write_checksums(folder)
    return str(folder)


def test_the_mean_of_policies_is_a_policy(tmp_path: Path) -> None:
    made = [policy(tmp_path / str(value), w=torch.full((2, 2), value, dtype=torch.bfloat16)) for value in (1.0, 2.0, 6.0)]
    output = tmp_path / "new" / "mean"
    assert main(["--policy", *made, "--output", str(output)]) == 0
    weights = load_file(output / "model.safetensors")["w"]
    assert weights.dtype == torch.bfloat16
    assert weights.tolist() == [[3.0, 3.0], [3.0, 3.0]]
    assert {path.name for path in output.iterdir()} == {"model.safetensors", "config.json", "checksums-0.blake2b"}
    assert damaged_file(output) is None
    assert [path.name for path in output.parent.iterdir()] == ["mean"]


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("one", "valid: two or more"),
        ("there", "valid: a new folder"),
        ("other shape", "other names or shapes"),
        ("other names", "other names or shapes"),
        ("sharded", "has no model.safetensors"),
    ],
)
def test_what_cannot_be_averaged_is_told_and_leaves_nothing(
    case: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, output = policy(tmp_path / "a", w=torch.ones(2)), tmp_path / "mean"
    name, shape = ("v", 2) if case == "other names" else ("w", 3 if case == "other shape" else 2)
    second = policy(tmp_path / "b", **{name: torch.ones(shape)})
    if case == "sharded":
        (tmp_path / "b" / "model.safetensors").rename(tmp_path / "b" / "model-00001-of-00002.safetensors")
        write_checksums(tmp_path / "b")
    if case == "there":
        output.mkdir()
    assert main(["--policy", *([first] if case == "one" else [first, second]), "--output", str(output)]) == 2
    assert told in capsys.readouterr().err
    assert case == "there" or not output.exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"a", "b", "mean"}


def test_a_damaged_policy_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policies = [policy(tmp_path / name, w=torch.ones(2)) for name in "ab"]
    weights = tmp_path / "b" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert main(["--policy", *policies, "--output", str(tmp_path / "mean")]) == 2
    assert "restore it from a copy" in capsys.readouterr().err
    assert not (tmp_path / "mean").exists()
