"""`medistill predict`: probabilities for new images, without torch."""

from pathlib import Path
from typing import Annotated

import typer


def predict(
    model: Annotated[Path, typer.Argument(help="An exported .onnx file, or the folder of a run.")],
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of them.")],
    out: Annotated[Path, typer.Option(help="The table to write.")] = Path("predictions.csv"),
    explain: Annotated[
        bool,
        typer.Option(help="Also draw where in each image the evidence lies, beside the table."),
    ] = False,
) -> None:
    """Predict images; a file that cannot be read is named, and the rest goes on."""
    from medistill.runs.predict import predict as work

    if not work(model, images, out=out, explain=explain):
        raise typer.Exit(1)
