"""A benchmark of two ways says where its input comes from, and fails where they differ."""

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
MEASURED = {"seconds": 1.0, "seconds without the network": 0.5, "MB over the baseline": 10.0}


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    nowhere = str(tmp_path / "absent.nii.gz")
    given = ["sliding_window.py", "--volume", nowhere, "--rounds", "1", "--classes", "2", "3"]
    monkeypatch.setattr(sys, "argv", given)
    module = importlib.import_module("sliding_window")
    monkeypatch.setattr(module, "MADE", (4, 4, 4))
    return module


@pytest.mark.parametrize("differing", [None, 2, 3])
def test_masks_that_differ_end_the_window_benchmark_with_an_error(
    windows: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    differing: int | None,
) -> None:
    def measured(side: str, classes: int, folder: Path, _: argparse.Namespace) -> dict[str, float]:
        found = np.zeros((2, 2, 2), np.uint8) + (side == "monai" and classes == differing)
        np.save(folder / f"{side}.npy", found)
        return MEASURED

    monkeypatch.setattr(windows, "_measured", measured)
    if differing is None:
        windows.main()
    else:
        with pytest.raises(SystemExit) as ended:
            windows.main()
        assert ended.value.code == 1
    said = capsys.readouterr().out
    assert said.startswith("random numbers: there is no ")
    # Those that come after it are measured all the same.
    assert "3 classes" in said and ("MASKS DIFFER" in said) == (differing is not None)
