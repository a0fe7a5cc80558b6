"""Model folders that cannot be used are told in one line, and those that can are not refused."""

import json
import re
import shutil
import time
from pathlib import Path

import pytest

from conf.errors import ConfigError
from conf.load import load_config
from jobs import check
from pipeline.inputs import check_inputs
from pipeline.store.model_folder import CPU_HEADS, check_model_folder
from tests.broken_models import BASE, BROKEN, REFUSES_SYSTEM, broken_model, changed, sharded, written


@pytest.fixture(autouse=True)
def _prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "prepare_environment", lambda: None)  # conftest.py did, once for all tests


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_folder_is_told_in_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how, message = BROKEN[name]
    folder = broken_model(tmp_path, how)
    with pytest.raises(ConfigError, match=message) as refused:
        check_inputs(load_config(overrides=[f"model.path={folder}", "evaluation.sets=[]"]))
    assert "valid: " in str(refused.value)
    assert str(folder) in str(refused.value)
    assert check.main(["--set", f"model.path={folder}"]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"error: {refused.value}\n")
    assert printed.err.count("\n") == 1


def usable(folder: Path) -> list[str]:
    return check_model_folder(folder, "model.path=it", "cpu")


def test_the_tiny_base_and_its_weights_in_shards_are_fine(tmp_path: Path) -> None:
    assert usable(BASE) == []
    assert usable(broken_model(tmp_path, sharded(3))) == []


def test_a_padded_vocabulary_is_fine_and_a_much_larger_one_is_doubted(tmp_path: Path) -> None:
    def fewer(folder: Path, kept: int) -> None:
        tree = json.loads((folder / "tokenizer.json").read_text())
        tree["model"]["vocab"] = {token: number for token, number in tree["model"]["vocab"].items() if number < kept}
        tree["added_tokens"] = [token for token in tree["added_tokens"] if token["id"] < kept]
        (folder / "tokenizer.json").write_text(json.dumps(tree))

    assert usable(broken_model(tmp_path / "padded", lambda folder: fewer(folder, 700))) == []
    (doubt,) = usable(broken_model(tmp_path / "other", lambda folder: fewer(folder, 100)))
    assert doubt == "model.path=it: its tokenizer has 100 tokens, the model's vocab_size is 734: is it the model's own?"


def test_a_tokenizer_of_the_older_form_is_read_with_its_added_tokens(tmp_path: Path) -> None:
    def older(folder: Path) -> None:
        tree = json.loads((folder / "tokenizer.json").read_text())
        special = {token["content"]: token["id"] for token in tree["added_tokens"]}
        words = {token: number for token, number in tree["model"]["vocab"].items() if token not in special}
        (folder / "vocab.json").write_text(json.dumps(words))
        decoder = {str(number): {"content": token} for token, number in special.items()}
        changed("tokenizer_config.json", added_tokens_decoder=decoder)(folder)
        (folder / "tokenizer.json").unlink()

    assert usable(broken_model(tmp_path, older)) == []


def test_without_a_chat_template_prompts_are_plain_text(tmp_path: Path) -> None:
    (warning,) = usable(broken_model(tmp_path, changed("tokenizer_config.json", chat_template=None)))
    assert warning.endswith("its tokenizer has no chat template: prompts are plain text")


def test_a_template_that_refuses_a_system_role_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = broken_model(tmp_path, changed("tokenizer_config.json", chat_template=REFUSES_SYSTEM))
    prompts = tmp_path / "prompts.yaml"
    prompts.write_text(
        "challenger: {system: Be brief., user: Write.}\nsolver: {system: null, user: '{question}'}\n"
        "validity: {system: null, user: '{question}'}\n"
    )
    assert check.main(["--set", f"model.path={folder}", f"prompts={prompts}"]) == 2
    message = capsys.readouterr().err
    assert "System role not supported" in message
    assert "valid: prompts whose `system` is null" in message
    assert message.count("\n") == 1


def test_a_tokenizer_that_transformers_cannot_load_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = broken_model(tmp_path, changed("tokenizer.json", model={"type": "none", "vocab": {"<|im_end|>": 2}}))
    assert check.main(["--set", f"model.path={folder}"]) == 2
    message = capsys.readouterr().err
    assert "its tokenizer cannot be loaded" in message
    assert message.count("\n") == 1


def test_a_model_that_is_scaled_beyond_its_positions_is_fine(tmp_path: Path) -> None:
    rope = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
    folder = broken_model(tmp_path, changed("config.json", max_position_embeddings=128, rope_parameters=rope))
    assert check_inputs(load_config(overrides=[f"model.path={folder}"])).positions == 128


def test_the_heads_on_cpu_are_those_of_the_installed_vllm() -> None:
    import importlib.util

    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    source = (Path(spec.origin).parent / "v1" / "attention" / "backends" / "cpu_attn.py").read_text()
    (sizes,) = re.findall(r"def get_supported_head_sizes.*?return \[([\d, ]+)\]", source, re.DOTALL)
    assert tuple(map(int, sizes.split(","))) == CPU_HEADS


def test_it_takes_a_fraction_of_a_second(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(BASE, folder)
    vocabulary = {f"token {number}": number for number in range(150_000)}  # the size of Qwen3's
    tree = json.loads((folder / "tokenizer.json").read_text())
    tree["model"]["vocab"] |= {token: number % 734 for token, number in vocabulary.items()}
    written("tokenizer.json", json.dumps(tree))(folder)
    started = time.process_time()
    usable(folder)
    assert time.process_time() - started < 0.5
