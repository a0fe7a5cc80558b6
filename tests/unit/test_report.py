"""The report: what it says, that it holds for a run in any state, and that what a model wrote stays text."""

import os
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from jobs.report import main
from pipeline.observe.report.data import gain, read_run, same
from pipeline.observe.report.figures import apart, histogram
from pipeline.observe.report.intervals import bootstrap, wilson
from pipeline.observe.report.page import kept_shares, render, tiles
from pipeline.observe.report.svg import ticks
from pipeline.store.manifest import FILE, PREVIOUS, EvaluationStage, read_manifest, write_manifest
from pipeline.store.tables import EvaluationRow, read_table, write_table
from tests.made_runs import HOSTILE, made_config, write_run

TAGS = """html head meta title style body header main footer h1 h2 h3 p a nav div b i span code small ul li ol dl dt dd table tr
th td details summary article blockquote figure figcaption svg path text rect circle"""
ATTRIBUTES = """lang charset name content http-equiv class id href aria-label style viewbox role x y d cx cy r rx width height
fill-opacity text-anchor dir open"""


class Page(HTMLParser):
    """Every tag and attribute of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.links: set[str] = set()
        self.ids: set[str] = set()
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attributes}
        self.links |= {value or "" for name, value in attributes if name in ("href", "src")}
        self.ids |= {value or "" for name, value in attributes if name == "id"}

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(folder: Path) -> Page:
    return Page(render(read_run(folder)))


def test_what_a_model_wrote_stays_text(tmp_path: Path) -> None:
    folder = write_run(made_config(tmp_path), 2, questions=HOSTILE)
    text = render(read_run(folder))
    page = Page(text)
    assert set(page.tags) <= set(TAGS.split())
    assert page.attributes <= set(ATTRIBUTES.split())
    assert page.tags["h1"] == page.tags["main"] == page.tags["style"] == 1
    assert "<script>alert(1)</script>" in page.text  # shown, and as text
    assert "{{ 7 * 7 }}" in page.text
    assert "<b>4</b>" in page.text  # an answer
    assert not re.search("[\u202e\u2066\x00\x1b\ud800]", text)
    assert "long " * 400 not in text


def test_the_page_needs_no_network_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    folder = write_run(made_config(tmp_path), 2)
    text = render(read_run(folder))
    page = Page(text)
    assert page.links == {f"#{name}" for name in page.ids}
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


@pytest.mark.parametrize("until", ["challenger", "curriculum", "solver", "evaluation"])
@pytest.mark.parametrize("oracle", ["pipeline.domain.tiny.read", None])
def test_a_run_is_reported_as_far_as_it_got(tmp_path: Path, until: str, oracle: str | None) -> None:
    page = page_of(write_run(made_config(tmp_path, oracle=oracle), 2, until=until))
    assert ("2 rounds finished" in page.text) == (until == "evaluation")
    assert ("Unfinished: round 2, 2 Challenger and" in page.text) == (until != "evaluation")
    assert ("majority is right" in page.text) == (oracle is not None)
    assert ("Worked steps" in page.text) == (oracle is not None)


def test_labels_are_judged_by_the_grader_of_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = made_config(tmp_path)
    config.reward.grader = "examples/chemistry.py:FormulaGrader"
    folder = write_run(config, 1)
    grader = read_run(folder).grader
    assert same(r"\ce{Ca(OH)2}", "CaO2H2", grader) is True  # to the grader of mathematics they differ
    assert same("CaO", "CaO2H2", grader) is False
    manifest = read_manifest(folder)
    manifest.config["reward"]["grader"] = "gone.py:FormulaGrader"
    write_manifest(folder, manifest)
    assert {row.right for row in read_run(folder).rounds[1].curriculum} == {None}
    assert "the report does not say which answers are right: reward.grader=gone.py" in capsys.readouterr().out
    render(read_run(folder))


def test_a_run_without_benchmarks(tmp_path: Path) -> None:
    config = made_config(tmp_path)
    config.evaluation.sets = []
    folder = write_run(config, 1)
    manifest = read_manifest(folder)
    for round_ in manifest.rounds.values():
        round_.evaluation = EvaluationStage(True)
    write_manifest(folder, manifest)
    page = page_of(folder)
    assert "1 round finished" in page.text
    assert "the run has no benchmarks" in page.text


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    page = page_of(write_run(made_config(tmp_path), 0))
    assert "No round has begun" in page.text
    assert "No Challenger step is finished yet" in page.text


def test_figures_are_those_of_the_files(tmp_path: Path) -> None:
    run = read_run(write_run(made_config(tmp_path), 1))
    base, first = run.rounds
    assert base.accuracy["heldout"]["sampled"].mean == pytest.approx(0.25)  # 0, 1/4, 1/2; the transfer question is on its own
    assert first.accuracy["heldout"]["greedy"].scores == (1.0, 1.0, 0.0)
    assert base.accuracy["heldout_transfer"]["sampled"].scores == (0.75,)
    rows = {row.answered.question: row for row in first.curriculum}
    assert (rows["Compute 2 + 1."].truth, rows["Compute 2 + 1."].right) == ("3", True)
    assert (rows["Compute 5 + 1."].truth, rows["Compute 5 + 1."].right) == ("6", False)
    assert rows[None].right is None
    assert first.steps[0].parts == pytest.approx({"mine": 0.6, "repetition": -0.2, "reward": 0.4})  # as they were recorded
    assert [len(cluster) for cluster in first.steps[0].clusters] == [2, 2, 2, 2]
    assert first.seconds == {"sampling": 2 * 2 * 2 + 3 + 1 + 1, "learning": 4}


def test_a_round_may_be_measured_in_fewer_ways_than_another(tmp_path: Path) -> None:
    folder = write_run(made_config(tmp_path), 2)
    table = folder / "round-1" / "evaluation" / "heldout.parquet"
    write_table(table, EvaluationRow, [replace(row, sampled=None, majority=None) for row in read_table(table, EvaluationRow)])
    page = render(read_run(folder))
    assert "Accuracy on heldout by round: sampled 25%, 75%; greedy 33%, 67%, 100%" in page


@pytest.mark.parametrize("other", [{}, {"checksum": "another"}, {"samples": 8}, {"limit": 3}, {"temperature": 0.5}])
def test_a_gain_is_that_on_the_same_questions_asked_in_the_same_way(tmp_path: Path, other: dict) -> None:
    folder = write_run(made_config(tmp_path), 1)
    manifest = read_manifest(folder)
    for number in (0, 1):
        sets, same = manifest.round(number).evaluation.sets, not other
        changes = {"checksum": "one", "temperature": 1.0} | (other if number else {})
        sets["heldout"] = replace(sets["heldout"], **changes)
    write_manifest(folder, manifest)
    run = read_run(folder)
    assert (gain("heldout_easy", "greedy", *run.rounds) is not None) == same
    assert any("from the base" in what for _, what in tiles(run)) == same
    assert gain("heldout", "greedy", run.rounds[0], run.rounds[0]) is None
    assert gain("other", "greedy", *run.rounds) is None


def test_a_run_is_reported_by_its_previous_manifest_where_the_present_one_is_missing(tmp_path: Path) -> None:
    folder = write_run(made_config(tmp_path), 1)
    (folder / FILE).rename(folder / PREVIOUS)
    assert main(["--name", "made", "--runs-dir", str(tmp_path)]) == 0
    assert "1 round finished" in Page((folder / "report.html").read_text()).text


@pytest.mark.parametrize("change", ["flipped", "cut", "missing"])
@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("challenger/questions-0001.parquet", "restore"),
        ("curriculum.parquet", "restore"),
        ("evaluation/heldout.parquet", "`make evaluate` measures the set again"),
    ],
)
def test_a_damaged_table_is_left_out_with_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, remedy: str, change: str
) -> None:
    folder = write_run(made_config(tmp_path), 2)
    table = folder / "round-1" / name
    content = table.read_bytes()
    table.unlink()
    if change != "missing":
        flipped = bytes(byte ^ (place % 50 == 20) for place, byte in enumerate(content))
        table.write_bytes(flipped if change == "flipped" else content[:-10])
    assert main(["--name", "made", "--runs-dir", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    told = " ".join(shown.out.split())
    line = told.index(f"the report leaves out a table: {table} is {'missing' if change == 'missing' else 'damaged'}")
    assert remedy in told[line:]
    assert shown.err == ""
    assert "2 rounds finished" in Page((folder / "report.html").read_text()).text


def test_what_tells_right_labels_from_wrong_ones_is_beside_each_question(tmp_path: Path) -> None:
    text = page_of(write_run(made_config(tmp_path), 1)).text
    assert "log-probability of its least likely token -0.50" in text
    assert "Support of the labels" not in text  # in the first round there is no previous Solver
    text = " ".join(page_of(write_run(made_config(tmp_path), 2)).text.split())
    assert "25% of the previous Solver's answers agree" in text
    assert "Support of the labels" in text
    assert "from round 3 on, below 30% another round will not help; best: round 2" in text
    text = page_of(write_run(made_config(tmp_path, "begun"), 3, until="curriculum")).text
    assert "will not help; best: round 2" in text  # of those that have a Solver


def test_the_votes_that_are_kept_are_marked() -> None:
    assert kept_shares({"curriculum": {"delta": 0.25, "keep": []}, "reward": {"samples": 10}}) == (0.25, 0.75)
    assert kept_shares({"curriculum": {"delta": 0.25, "keep": [4, 7]}, "reward": {"samples": 8}}) == (0.5, 0.875)


def test_intervals() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(50, 100)
    assert (round(low, 3), round(high, 3)) == (0.404, 0.596)  # Newcombe (1998) and any textbook
    scores = [0.0, 1.0] * 50
    assert bootstrap(scores) == bootstrap(scores)
    low, high = bootstrap(scores)
    assert low == pytest.approx(0.402, abs=0.015)
    assert high == pytest.approx(0.598, abs=0.015)


def test_places_on_a_chart() -> None:
    assert histogram([0.0, 0.1, 0.9, 1.0], [0, 0.5, 1.0]) == [2, 2]
    assert ticks(0, 0.0085, 4) == [0, 0.0025, 0.005, 0.0075]
    assert ticks(3, 3) == [3]
    assert apart({"a": 10, "b": 11, "c": 60}, 13)["b"] - apart({"a": 10, "b": 11, "c": 60}, 13)["a"] == 13
    assert min(apart(dict.fromkeys("abcd", 20.0), 13).values()) == 6.5  # not above the picture


def test_the_command_takes_the_run_that_was_written_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("older", "newer"):
        folder = write_run(made_config(tmp_path, name), 1)
        os.utime(folder / "manifest.json", (0, 1000 if name == "newer" else 0))
    assert main(["--runs-dir", str(tmp_path)]) == 0
    assert (tmp_path / "newer" / "report.html").stat().st_size > 10_000
    assert main(["--runs-dir", str(tmp_path), "--name", "absent"]) == 2
    assert "valid: newer, older" in capsys.readouterr().err
    assert main(["--runs-dir", str(tmp_path / "nowhere")]) == 2
    assert "holds no run yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise OSError('no file')", "OSError: no file"),
        ("answer = 1", "has no function true_answer"),
        (None, "ModuleNotFoundError"),
    ],
)
def test_an_oracle_that_cannot_be_used_is_told(tmp_path: Path, monkeypatch, capsys, code: str | None, said: str) -> None:
    name = f"oracle_{abs(hash(said))}"
    if code:
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    write_run(made_config(tmp_path, oracle=name), 1)
    assert main(["--runs-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: evaluation.oracle={name}: ")
    assert said in error


def test_an_oracle_need_not_measure_difficulty(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "half_an_oracle.py").write_text("def true_answer(question):\n    return '3'")
    monkeypatch.syspath_prepend(tmp_path)
    page = page_of(write_run(made_config(tmp_path, oracle="half_an_oracle"), 1))
    assert "majority is right" in page.text
    assert "Worked steps" not in page.text
