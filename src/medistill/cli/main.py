"""The `medistill` command; it answers at once, for each verb imports what it needs as it runs."""

import sys
from importlib.metadata import version

import typer

from medistill.cli import check, demo, evaluate, export, init, listing, predict, report, train
from medistill.errors import UserError

SLIP = 2  # the user's to mend
FAILED = 1

app = typer.Typer(
    help="Turn a large medical-imaging foundation model into the small model a hospital can run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for verb in (
    demo.demo, check.check, train.train, evaluate.evaluate, export.export, predict.predict,
    report.report, init.init,
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
        app(args=arguments, prog_name="medistill")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except UserError as slip:
        return _say(str(slip), SLIP)
    except OSError as failure:
        return _say(_disk(failure), FAILED)
    return 0


def _disk(failure: OSError) -> str:
    """A full disk or a vanished file, in one line; the run can be taken up again."""
    name = f" ({failure.filename})" if failure.filename else ""
    return f"{failure.strerror or failure}{name}. What was done is kept: run it again to go on."


def _say(line: str, code: int) -> int:
    print(f"medistill: {line}", file=sys.stderr)
    return code
