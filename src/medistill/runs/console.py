"""What a person sees while a verb works: bars on a terminal, plain lines elsewhere."""

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console as Terminal
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from medistill.errors import Advice
from medistill.report.wording import duration

Advance = Callable[[int, str], None]
PLAIN_SECONDS = 20.0  # between two plain lines of one stage


class Console:
    """Says what happens; silent when asked, or in processes that are not the first.

    Args:
        quiet: Say nothing, not even warnings.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.terminal = Terminal(highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """One line of news."""
        if not self.quiet:
            self.terminal.print(escape(text))
            sys.stdout.flush()

    def warn(self, text: str) -> None:
        """One line that a person should not miss."""
        if not self.quiet:
            self.terminal.print(f"[yellow]warning:[/yellow] {escape(text)}")
            sys.stdout.flush()

    @contextmanager
    def advised(self) -> Iterator[None]:
        """Show as lines what our objects advise inside; other warnings go their usual way."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", Advice)
            yield
        for one in caught:
            if issubclass(one.category, Advice):
                self.warn(str(one.message))
            else:
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)

    @contextmanager
    def track(
        self, label: str, total: int, *, begun: int = 0, pause: float = PLAIN_SECONDS
    ) -> Iterator[Advance]:
        """Follow a stage of known length; call the yielded function with (done, note).

        Args:
            label: What the stage is called.
            total: How many things will be done.
            begun: How many were done before this attempt: they took none of its time.
            pause: Seconds between two plain lines at least; 0 prints every call.
        """
        if self.quiet:
            yield _ignore
        elif self.terminal.is_terminal:
            yield from self._bar(label, total, begun)
        else:
            yield self._plain(label, total, begun, pause)

    def _bar(self, label: str, total: int, begun: int) -> Iterator[Advance]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            # Not rich's own column: it forgets what is older than 30 s, and a run takes minutes.
            TextColumn("{task.fields[pace]}", style="progress.remaining"),
            TextColumn("{task.fields[note]}"),
        )
        pace = _Pace(total, begun)
        with Progress(*columns, console=self.terminal) as progress:
            task = progress.add_task(label, total=total, completed=begun, pace=pace, note="")

            def advance(done: int, note: str = "") -> None:
                pace.reach(done)
                progress.update(task, completed=done, note=note)

            yield advance

    def _plain(self, label: str, total: int, begun: int, pause: float) -> Advance:
        pace = _Pace(total, begun)
        last = pace.reached

        def advance(done: int, note: str = "") -> None:
            nonlocal last
            pace.reach(done)
            if pace.reached - last < pause and done < total:
                return
            last = pace.reached
            told = f"{label} {done}/{total}, {pace}".rstrip(", ")
            self.say(f"{told} {note}".rstrip())

        return advance


class _Pace:
    """How long a stage still takes if it goes on as it went so far; at its end, how long it took.

    Args:
        total: How many things will be done.
        begun: How many were done before this attempt.
    """

    def __init__(self, total: int, begun: int) -> None:
        self.total, self.begun, self.done = total, begun, begun
        self.started = self.reached = time.monotonic()

    def reach(self, done: int) -> None:
        """So many are done by now."""
        self.done, self.reached = done, time.monotonic()

    def __str__(self) -> str:
        took = self.reached - self.started
        if self.done >= self.total:
            return duration(took)
        if self.done == self.begun:
            return ""
        each, waiting = took / (self.done - self.begun), self.total - self.done
        # The next may be late, but those behind it will take their time all the same.
        late = min(time.monotonic() - self.reached, each)
        return f"{duration(waiting * each - late)} left"


def _ignore(done: int, note: str = "") -> None:
    """Nobody looks."""
