"""The documentation does not go stale: the reference of settings, the links, the commands."""

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from conf.load import ROOT
from conf.settings import settings, shown
from jobs.docs import PATH, settings_page
from pipeline.algorithm.rewards import SCORERS, Need
from pipeline.domain.prompt_file import load_prompts

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def test_the_reference_of_settings_is_that_of_the_schema() -> None:
    assert PATH.read_text() == settings_page(), "run `make docs`"


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            path, _, anchor = target.partition("#")
            file = (page.parent / path) if path else page
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), target


def test_the_example_of_prompts_can_be_loaded(tmp_path: Path) -> None:
    (example,) = re.findall(
        r"^```yaml\n# chemistry\.yaml\n(.*?)^```", (ROOT / "docs" / "domain.md").read_text(), re.MULTILINE | re.DOTALL
    )
    (tmp_path / "chemistry.yaml").write_text(example)
    assert "chemistry" in str(load_prompts(tmp_path / "chemistry.yaml").challenger_messages())


def test_the_examples_of_prompt_keys_can_be_loaded(tmp_path: Path) -> None:
    shown = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "prompts.md").read_text(), re.MULTILINE | re.DOTALL)
    worked, drawn = map(yaml.safe_load, shown)
    (tmp_path / "problems.jsonl").write_text('{"question": "What is 1 + 1?", "answer": 2}\n' * 3)
    rest = {"challenger": {"system": None, "user": "Go"}, "validity": {"system": None, "user": "{question}"}}
    for keys in (worked, {"challenger": rest["challenger"] | drawn["challenger"]}):
        (tmp_path / "prompts.yaml").write_text(yaml.safe_dump({**rest, "solver": worked["solver"], **keys}))
        load_prompts(tmp_path / "prompts.yaml")


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_and_settings_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^ *make ([a-z]+)", text, re.MULTILINE)) | set(re.findall(r"`make ([a-z]+)", text)) <= targets
    known = {shown(name) for name, _ in settings()}
    sections = {name.partition(".")[0] for name in known if "." in name}
    named = {name for name in re.findall(r"[\s\"`]([a-z]+\.[a-z0-9_.]+)=", text) if name.partition(".")[0] in sections}
    assert set(named) <= known


def test_every_scorer_and_what_it_may_need_is_described() -> None:
    text = (ROOT / "docs" / "rewards.md").read_text()
    assert re.findall(r"^\| `(\w+)` \| (?:sets|takes)", text, re.MULTILINE) == list(SCORERS)
    assert re.findall(r'^\| .*\| `@needs\("(\w+)"\)`', text, re.MULTILINE) == list(get_args(Need))
