"""That all that is computed on an accelerator stays there, on machines that have none."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(
    torch.__version__ < (2, 15), reason="the pretended device was not tried with it"
)
def test_every_method_and_whole_runs_keep_to_the_device_of_their_training(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.pretended", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
