"""What a person sees while a verb works: bars on a terminal, plain lines elsewhere."""

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console as Terminal
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from medistill.errors import Advice

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
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.terminal) as progress:
            task = progress.add_task(label, total=total, completed=begun, note="")

            def advance(done: int, note: str = "") -> None:
                progress.update(task, completed=done, note=note)

            yield advance

    def _plain(self, label: str, total: int, begun: int, pause: float) -> Advance:
        started = last = time.monotonic()

        def advance(done: int, note: str = "") -> None:
            nonlocal last
            now = time.monotonic()
            if now - last < pause and done < total:
                return
            last = now
            left = (now - started) / max(done - begun, 1) * (total - done)
            rest = f", {left:.0f} s left" if done < total else f", {now - started:.0f} s"
            self.say(f"{label} {done}/{total}{rest} {note}".rstrip())

        return advance


def _ignore(done: int, note: str = "") -> None:
    """Nobody looks."""
