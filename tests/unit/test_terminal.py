"""The terminal output: what it says, that it fits 80 columns, and that a model's text cannot reach the terminal raw."""

from collections.abc import Callable
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from pipeline.observe import terminal as display
from pipeline.observe.terminal import Example, PhaseProgress, RoundSummary, duration, printable, round_summary, say

ESC = "\x1b"
HOSTILE = f"{ESC}[2J{ESC}]0;title\x07{ESC}]52;c;cm0=\x07\x9b31m[red]sum[/red]\r\n\tof \u202e2\u200b and\x08 3?\x00"

SUMMARY = RoundSummary(
    round=2,
    before={"heldout": {"sampled": 0.52, "greedy": 0.61, "majority": 0.7}},
    after={"heldout": {"sampled": 0.613, "greedy": 0.6, "majority": 0.7}, "gsm8k": {"greedy": 0.25}},
    questions_written=384,
    questions_wellformed=371,
    questions_answered=370,
    questions_kept=122,
    label_accuracy=0.871,
    p_hat_first=0.7,
    p_hat_last=0.65,
    examples=[Example("What is 2 + 3?", 0.5, "5", "5"), Example(HOSTILE, 0.7, HOSTILE, None)],
    seconds={"sampling": 181.0, "learning": 70.4, "start-up": 3700.0},
    paths={"curriculum": "runs/tiny/" + "deep/" * 30 + "curriculum.parquet"},
)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Give display a console of 80 columns that is no terminal; the function returns what was printed so far."""
    buffer = StringIO()
    monkeypatch.setattr(display, "console", Console(file=buffer, width=80, highlight=False, force_terminal=False))
    return buffer.getvalue


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """The same for a terminal of 80 columns."""
    buffer = StringIO()
    console = Console(
        file=buffer, width=80, highlight=False, force_terminal=True, force_interactive=True, _environ={"TERM": "xterm"}
    )
    monkeypatch.setattr(display, "console", console)
    return buffer.getvalue


def test_printable_keeps_words_and_drops_everything_a_terminal_would_act_on() -> None:
    assert printable(HOSTILE, 80) == "[red]sum[/red] of 2 and 3?"


def test_printable_cuts_by_cells_not_characters() -> None:
    assert printable("九" * 50, 11) == "九" * 5 + "…"
    assert len(printable("e" + "\u0301" * 10**6, 10)) <= 20


def test_printable_never_raises_on_what_the_output_cannot_encode(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ascii(StringIO):
        encoding = "ascii"

    monkeypatch.setattr(display, "console", Console(file=Ascii()))
    assert printable("π is 九", 80) == "? is ?"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (75, "1:15"), (4000, "1:06:40")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_say_prints_one_plain_line_that_is_not_wrapped(shown: Callable[[], str]) -> None:
    say(f"[bold]starting[/bold] {ESC}[31m" + "x" * 100)
    assert shown().endswith("] [bold]starting[/bold] " + "x" * 100 + "\n")
    assert shown().count("\n") == 1


def test_progress_off_a_terminal_is_a_plain_line_a_step(shown: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display.time, "monotonic", lambda: 100.0)
    with PhaseProgress("round 1 challenger", total=5, done=3) as progress:
        progress.update(4, reward=0.4213, p_hat=0.63, tokens_per_s=5812)
        progress.update(5, reward=0.5)
    resumed, fourth, fifth = shown().splitlines()
    assert "round 1 challenger resumes after 3/5" in resumed
    assert "round 1 challenger 4/5, reward 0.42, p-hat 0.63, 5.8k tok/s, 0:00 left" in fourth
    assert "round 1 challenger 5/5, reward 0.50, 0:00 taken" in fifth
    assert ESC not in shown()


def test_time_left_is_the_mean_step_made_here_times_the_steps_to_go(
    shown: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: clock[0])
    with PhaseProgress("round 1 solver", total=15, done=5) as progress:
        clock[0] += 20.0
        progress.update(7)
    assert "solver 7/15, 1:20 left" in shown()  # 10 s a step, 8 to go; the five made before the restart do not count


def test_within_a_step_a_plain_line_a_minute_says_how_far_it_is(
    shown: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: clock[0])
    with PhaseProgress("round 1 challenger", total=5) as progress:
        progress.drawing(1280)
        for _ in range(20):  # 190 s
            clock[0] += 9.5
            progress.drawn(20, 950)
        progress.update(1, reward=0.5)
        progress.drawing(10)
        progress.drawn(10, 100)
    first, second, step = shown().splitlines()
    assert "round 1 challenger 0/5, in the next: 140/1280 samples, 100 tok/s, 9:02 left" in first
    assert "280/1280 samples" in second
    assert "round 1 challenger 1/5, reward 0.50" in step


def test_within_a_step_a_terminal_shows_its_samples(terminal: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: clock[0])
    with PhaseProgress("round 1 curriculum", total=4, done=1) as progress:
        progress.drawing(1280)
        clock[0] += 10
        progress.drawn(640, 60_000)
    last = terminal().split("\x1b[2K")[-1]
    assert "640/1280 samples, 6.0k tok/s, 0:10 left" in last


def test_live_line_fits_a_terminal(terminal: Callable[[], str]) -> None:
    with PhaseProgress("round 10 challenger", total=15) as progress:
        progress.update(11, reward=-0.42, p_hat=0.63, tokens_per_s=123_456)
    last = terminal().split("\x1b[2K")[-1]
    for part in ("round 10 challenger", "11/15", "reward -0.42", "p-hat 0.63", "123.5k tok/s", "0:00 left"):
        assert part in last


def test_summary_says_what_changed(shown: Callable[[], str]) -> None:
    round_summary(SUMMARY)
    text = shown()
    assert "round 2" in text
    heldout = next(line for line in text.splitlines() if line.startswith("heldout"))
    assert heldout.split() == [
        "heldout",
        "52.0->61.3",
        "+9.3",
        "61.0->60.0",
        "-1.0",
        "70.0->70.0",
        "+0.0",
    ]
    gsm8k = next(line for line in text.splitlines() if line.startswith("gsm8k"))
    assert gsm8k.split() == ["gsm8k", "-", "?->25.0", "-"]
    assert "384 written, 371 well-formed, 370 answered, 122 kept (32%)" in text
    assert "87% of the kept pseudo-labels are right" in text
    assert "0.70 -> 0.65" in text
    assert "1:05:51: start-up 1:01:40, sampling 3:01, learning 1:10" in text
    assert "What is 2 + 3?" in text


def test_summary_fits_80_columns_except_for_paths_which_stay_whole(shown: Callable[[], str]) -> None:
    round_summary(replace(SUMMARY, after={"a-benchmark-with-a-very-long-name": dict.fromkeys(display.WAYS, 1.0)}))
    wide = [line for line in shown().splitlines() if len(line) > 80]
    assert len(wide) == 1
    assert wide[0].endswith(SUMMARY.paths["curriculum"])


def test_summary_shows_hostile_text_as_text(shown: Callable[[], str]) -> None:
    round_summary(SUMMARY)
    assert "[red]sum[/red] of 2 and 3?" in shown()
    assert not [char for char in shown() if char != "\n" and not char.isprintable()]


def test_summary_without_oracle_or_challenger_steps(shown: Callable[[], str]) -> None:
    empty = replace(SUMMARY, label_accuracy=None, p_hat_first=None, p_hat_last=None, examples=[], questions_answered=0)
    round_summary(empty)
    assert "unknown (no oracle)" in shown()
    assert "Questions of the curriculum" not in shown()


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = StringIO()
    console = Console(file=buffer, width=80, force_terminal=True, _environ={"TERM": "xterm-256color", "NO_COLOR": "1"})
    monkeypatch.setattr(display, "console", console)
    round_summary(SUMMARY)
    assert "\x1b[32m" not in buffer.getvalue()
    assert "\x1b[31m" not in buffer.getvalue()
