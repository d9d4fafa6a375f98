"""The `medistill` command; it answers at once, for each verb imports what it needs as it runs."""

import sys
from importlib.metadata import version
from typing import Any

import typer

from medistill.cli import (
    analyze,
    check,
    compare,
    demo,
    evaluate,
    export,
    init,
    listing,
    predict,
    report,
    train,
)
from medistill.errors import Failure, UserError

SLIP = 2  # the user's to mend
FAILED = 1

app = typer.Typer(
    help="Turn a large medical-imaging foundation model into the small model a hospital can run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for verb in (
    demo.demo, check.check, train.train, compare.compare, evaluate.evaluate, export.export,
    predict.predict, report.report, analyze.analyze, init.init,
):  # fmt: skip
    app.command()(verb)
app.command("list")(listing.listing)


@app.callback(invoke_without_command=True)
def _options(
    show_version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    if show_version:
        print(f"medistill {version('medistill')}")
        raise typer.Exit


def main() -> None:
    """Run the command line; a user's slip ends in one line and exit code 2, never a traceback."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line.

    Returns:
        0 when all went well, 1 when something failed, 2 for a slip of the user.
    """
    try:
        # Not standalone: typer would end the process, and box its errors over several lines.
        code = app(args=arguments or ["--help"], prog_name="medistill", standalone_mode=False)
    except _Misuse as slip:
        return _say(_one_line(slip.format_message()), SLIP)
    except Failure as failure:
        return _say(str(failure), FAILED)
    except UserError as slip:
        return _say(str(slip), SLIP)
    except OSError as failure:
        return _say(_disk(failure), FAILED)
    except (KeyboardInterrupt, typer.Abort):
        return _say(INTERRUPTED, FAILED)
    if code == _CONTROL_C:
        return _say(INTERRUPTED, FAILED)
    return code if isinstance(code, int) else 0


# ClickException: typer brings a click of its own, or, in older versions, uses the installed one.
_Misuse: Any = typer.BadParameter.__mro__[2]
_CONTROL_C = 130  # what typer makes of it
INTERRUPTED = "interrupted. What was done is kept; a training goes on with --resume."


def _disk(failure: OSError) -> str:
    """A full disk or a vanished file, in one line; the run can be taken up again."""
    name = f" ({failure.filename})" if failure.filename else ""
    return (
        f"{failure.strerror or _one_line(str(failure))}{name}. What was done is kept: mend it and "
        "run the command again, a training with --resume."
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _say(line: str, code: int) -> int:
    print(f"medistill: {line}", file=sys.stderr)
    return code
