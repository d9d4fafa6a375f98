"""What scans need of nibabel: it comes late, and what a header says twice is compared."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medistill.errors import UserError
from medistill.grids import corner_gap


def nibabel() -> Any:
    """The package.

    Raises:
        UserError: It is not installed.
    """
    try:
        import nibabel as found
    except ImportError as error:
        raise UserError('reading NIfTI needs nibabel: pip install "medistill[seg]"') from error
    return found


def header_for(known: bytes | None, affine: NDArray[np.float64], kind: Any) -> Any:
    """The header of a mask: that of its scan, or a new one.

    Args:
        known: The scan's; of it only the range of grey values changes.
        affine: Of the scan.
        kind: nibabel's class of headers.
    """
    if known is None:
        header = kind()
        header.set_qform(affine, code="scanner")
        header.set_sform(affine, code="scanner")
        return header
    header = kind(known)
    header["cal_min"] = header["cal_max"] = 0  # of grey values: viewers would show a black mask
    return header


def forms_apart(image: Any) -> float:
    """How far sform and qform lay a volume apart, in voxels: 0 where the header has only one.

    Both say where voxels lie. Tools that follow the one see another scan than those that follow the
    other; nibabel, and with it medistill, follows the sform.
    """
    sform = image.header.get_sform(coded=True)[0]
    try:
        qform = image.header.get_qform(coded=True)[0]
    except ValueError:  # a quaternion that is none: nobody can follow it
        return 0.0
    if sform is None or qform is None:
        return 0.0
    return corner_gap(sform, qform, image.shape[:3])
