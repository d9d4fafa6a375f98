"""How far two masks cover each other."""

import numpy as np
from jaxtyping import Bool


def dice(prediction: Bool[np.ndarray, "*space"], truth: Bool[np.ndarray, "*space"]) -> float:
    """Dice similarity coefficient: twice what both share over what both hold, in [0, 1].

    Where there is nothing to find it is 1 if nothing was found, else 0.
    """
    held = np.count_nonzero(prediction) + np.count_nonzero(truth)
    return float(2 * np.count_nonzero(prediction & truth) / held) if held else 1.0
