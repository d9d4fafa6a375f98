"""`medistill predict`: answers for new images or scans, without torch."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def predict(
    model: Annotated[
        Path,
        typer.Argument(
            help="An exported .onnx file, or the folder of a run or of a network that it deployed."
        ),
    ],
    images: Annotated[
        list[Path],
        typer.Argument(help="Images, scans (NIfTI, folders of DICOM series), or folders of them."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The table to write (default: predictions.csv); of scans the mask (default: "
            "mask.nii.gz), or a folder for several (default: masks)."
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(help="Also draw where in each image the evidence lies, beside the table."),
    ] = False,
    per_class: Annotated[
        bool,
        typer.Option(help="Of scans, write a mask for each class; such masks may overlap."),
    ] = False,
    modality: Annotated[
        Literal["ct", "mr"] | None,
        typer.Option(
            help="What the scans are, where CT and MR were trained on and no DICOM file tells."
        ),
    ] = None,
) -> None:
    """Predict images or scans; a file that cannot be read is named, and the rest goes on."""
    from medistill.runs.predict import predict as work

    if not work(model, images, out=out, explain=explain, per_class=per_class, modality=modality):
        raise typer.Exit(1)
