"""Plain lines where nobody watches, and silence where another process speaks."""

import warnings
from io import StringIO

import pytest
from rich.console import Console as Terminal
from rich.progress import Progress

from medistill.errors import Advice
from medistill.runs.console import Console


class Clock:
    """Tells the time that a test says it is."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def stopped(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("medistill.runs.console.time.monotonic", clock)
    return clock


def test_every_call_is_a_line_where_that_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().track("training", 3, pause=0.0) as advance:
        for epoch in (1, 2, 3):
            advance(epoch, f"loss {epoch}")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0:2] for line in lines] == [["training", f"{n}/3,"] for n in (1, 2, 3)]
    assert lines[0].endswith("s left loss 1")
    assert "left" not in lines[2]


def test_a_stage_of_many_small_steps_is_not_a_flood(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().track("decoding", 1000) as advance:
        for done in range(1, 1001):
            advance(done, "")
    assert capsys.readouterr().out == "decoding 1000/1000, 0 s\n"


def test_brackets_are_text_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Console().say("[bold]x[/bold]")
    Console().warn("[red]y")
    assert capsys.readouterr().out == "[bold]x[/bold]\nwarning: [red]y\n"


def test_a_quiet_console_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=True)
    console.say("x")
    console.warn("y")
    with console.track("z", 1, pause=0.0) as advance:
        advance(1, "")
    assert capsys.readouterr().out == ""


def test_time_left_counts_what_this_attempt_did(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = stopped(monkeypatch)
    with Console().track("training", 10, begun=8, pause=0.0) as advance:
        clock.now = 10.0
        advance(9, "")
    assert capsys.readouterr().out == "training 9/10, 10 s left\n"


def test_hours_that_are_left_are_no_count_of_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = stopped(monkeypatch)
    with Console().track("runs", 26, pause=0.0) as advance:
        clock.now = 1.0
        advance(0, "nothing yet")
        clock.now = 300.0
        advance(1, "kd")
        clock.now = 7800.0
        advance(26, "rd")
    assert capsys.readouterr().out.splitlines() == [
        "runs 0/26 nothing yet",
        "runs 1/26, 2 h 05 min left kd",
        "runs 26/26, 2 h 10 min rd",
    ]


def test_advice_is_a_line_and_other_warnings_stay_what_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.warns(DeprecationWarning, match="old"), Console().advised():
        warnings.warn("dkd: two classes", Advice, stacklevel=1)
        with warnings.catch_warnings(action="default"):
            warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert capsys.readouterr().out == "warning: dkd: two classes\n"


class TestBar:
    def console(self) -> tuple[Console, StringIO]:
        console, said = Console(), StringIO()
        console.terminal = Terminal(file=said, force_terminal=True, width=120)
        return console, said

    def test_on_a_terminal_a_stage_is_a_bar_with_its_note(self) -> None:
        console, said = self.console()
        with console.track("training", 4, begun=1) as advance:
            advance(4, "loss [0.5]")
        assert "training" in said.getvalue()
        assert "4/4" in said.getvalue()

    def test_what_is_left_is_told_however_long_one_thing_takes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        console, said = self.console()
        clock = stopped(monkeypatch)
        told = []

        def shown() -> str:
            (bar,) = bars
            said.truncate(0)
            bar.refresh()
            return said.getvalue()

        bars: list[Progress] = []
        begin = Progress.__enter__

        def entered(bar: Progress) -> Progress:
            bars.append(bar)
            return begin(bar)

        monkeypatch.setattr(Progress, "__enter__", entered)
        with console.track("runs", 26, pause=0.0) as advance:
            for clock.now in (300.0, 600.0):
                advance(round(clock.now / 300))
                told.append(shown())
            clock.now = 840.0
            told.append(shown())
            clock.now = 9000.0  # one that hangs: the others still need their time
            told.append(shown())
        for text, left in zip(told, ("2 h 05", "2 h 00", "116", "115"), strict=True):
            assert f"{left} min left" in text

    def test_a_stop_gives_the_terminal_back(self) -> None:
        console, said = self.console()
        with pytest.raises(KeyboardInterrupt), console.track("training", 4):
            raise KeyboardInterrupt
        assert said.getvalue().rstrip().endswith("\x1b[?25h"), "the cursor is there again"


def test_a_stage_of_nothing_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().track("decoding", 0, pause=0.0) as advance:
        advance(0, "")
    assert capsys.readouterr().out == "decoding 0/0, 0 s\n"
