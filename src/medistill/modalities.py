"""Which kind of scan a word means: intensities are treated by it."""

import re
from typing import Literal

Modality = Literal["ct", "mr"]

# CT, CTA, CT1, and with what people put before it: low-dose, cone-beam, high-resolution,
# multi-detector, multi-slice, contrast-enhanced, non-contrast, dual-energy. OCT is none, nor SPECT.
_CT = re.compile(r"(ct[a-z0-9]*|(ld|cb|hr|md|ms|ce|nc|de)ct)")
# How nnU-Net is told to normalise a channel: of anything but CT.
_TREATMENTS = {"zscore", "nonorm", "no", "rescaleto01", "rescale01", "rgbto01"}


def modality_of(name: object) -> Modality | None:
    """How intensities are treated, by what a data set calls its kind of scan.

    Args:
        name: CT is a word of it, wherever it stands; whatever else it is counts as MR. None where
            it is empty, or says how values are normalised and not what they are.
    """
    told = str(name or "").lower()
    words = re.findall(r"[a-z0-9]+", told)
    joined = "".join(words)
    if "computedtomography" in joined or any(map(_CT.fullmatch, words)):
        return "ct"
    if not joined or joined.removesuffix("normalization") in _TREATMENTS:
        return None
    return "mr"
