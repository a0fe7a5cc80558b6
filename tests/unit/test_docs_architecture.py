"""docs/architecture.md is that of the import contracts: the same layers in the same order, and paths and names that exist."""

import re
import tomllib

import pytest

from conf.load import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
LAYERS = [contract for contract in CONTRACTS if contract["type"] == "layers"]
LAYER_TABLE, TRAVELS = re.findall(r"^## (?:Layers|Where a question travels)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)


def quoted(text: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", text))


def path_of(module: str) -> str:
    """The folder or file of a module of the project; of any other its name."""
    path = module.replace(".", "/")
    if (ROOT / path).is_dir():
        return f"{path}/"
    return f"{path}.py" if (ROOT / f"{path}.py").is_file() else module


def paths_of(contract: dict[str, list[str]]) -> list[str]:
    """The folders and files of a contract's layers, from the top down."""
    inside = [f"{container}." for container in contract.get("containers", [])] or [""]
    modules = [module.strip() for layer in contract["layers"] for module in re.split("[:|]", layer)]
    return [path_of(f"{container}{module}") for container in inside for module in modules]


def test_layers_are_those_of_the_contracts_in_their_order() -> None:
    listed = re.findall(r"^\|[^|]*\| `([^`]+)` \|", LAYER_TABLE, re.MULTILINE)
    for contract in LAYERS:
        assert [path for path in listed if path in paths_of(contract)] == paths_of(contract)
    assert set(listed) == {path for contract in LAYERS for path in paths_of(contract)}


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract["name"])
def test_every_contract_is_named_with_its_modules(contract: dict[str, list[str]]) -> None:
    assert f"*{contract['name']}" in " ".join(PAGE.split())
    keys = ("source_modules", "forbidden_modules", "protected_modules", "allowed_importers")
    assert {path_of(module) for key in keys for module in contract.get(key, [])} <= quoted(LAYER_TABLE)


def test_every_path_exists() -> None:
    paths = {name for name in quoted(PAGE) if re.fullmatch(r"[\w/]+/|[\w/]+\.py", name)}
    assert "pipeline/round.py" in paths
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []


def test_every_name_on_a_question_s_way_is_defined() -> None:
    sources = [path.read_text() for folder in ("pipeline", "actors") for path in (ROOT / folder).rglob("*.py")]
    defined = set(re.findall(r"^ *(?:def|class) (\w+)", "\n".join(sources), re.MULTILINE))
    names = {name for name in quoted(TRAVELS) if name.isidentifier()}
    assert "ScoredQuestion" in names
    assert sorted(names - defined) == []
