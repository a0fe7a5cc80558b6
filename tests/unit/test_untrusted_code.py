"""A model folder is data: code in it is never run, and nothing that could be a program is unpickled."""

import ast
import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from conf.errors import ConfigError
from conf.load import ROOT, load_config
from pipeline.inference import prompt_codec
from pipeline.inputs import check_inputs

BASE = ROOT / "assets" / "tiny-base"


def calls() -> Iterator[tuple[str, ast.Call, str]]:
    """Every call of the project: where, the call, and what is called as written."""
    for folder in ("actors", "conf", "jobs", "pipeline"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node, ast.unparse(node.func)


def test_trust_remote_code_is_off_wherever_a_model_is_loaded() -> None:
    """Without it transformers asks at a terminal whether to run the code."""
    found = 0
    for place, call, name in calls():
        given = [ast.unparse(each.value) for each in call.keywords if each.arg == "trust_remote_code"]
        assert given in ([], ["False"]), place
        if name == "LLM" or (name.startswith("Auto") and name.endswith((".from_pretrained", ".from_config"))):
            found += 1
            assert given == ["False"], place
    assert found >= 5


def test_what_is_unpickled_is_listed() -> None:
    """`torch.load` reads tensors alone, and nothing else of the project reads pickles."""
    loaders = ("pickle.load", "pickle.loads", "cloudpickle.load", "cloudpickle.loads", "torch.load", "joblib.load", "np.load")
    for place, call, name in calls():
        given = {each.arg: ast.unparse(each.value) for each in call.keywords}
        if name == "torch.load":
            assert given.get("weights_only") == "True", place
        elif name.endswith("read_pickle") or name in loaders:
            raise AssertionError(place)
        assert given.get("allow_pickle", "False") == "False", place


@pytest.mark.parametrize(
    ("file", "keys"),
    [
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["mine.Mine", "mine.Mine"]}, "tokenizer_class": "Mine"}),
        ("config.json", {"auto_map": {"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.Mine"}}),
        (
            "config.json",
            {"auto_map": {"AutoConfig": "mine.Mine", "AutoTokenizer": ["mine.Mine", None]}, "model_type": "mine"},
        ),
    ],
)
def test_code_in_a_model_folder_is_not_run(file: str, keys: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, ran = tmp_path / "model", tmp_path / "ran"
    shutil.copytree(BASE, model)
    (model / file).write_text(json.dumps(json.loads((model / file).read_text()) | keys))
    (model / "mine.py").write_text(f"open({str(ran)!r}, 'w')\nclass Mine: pass\n")
    monkeypatch.setattr("builtins.input", lambda _: "y")  # what a hurried user answers
    config = load_config("tiny", [f"model.path={model}", f"runs_dir={tmp_path}"])
    with suppress(ConfigError):  # where the model cannot do without its code
        prompt_codec(config, check_inputs(config))
    assert not ran.exists()
