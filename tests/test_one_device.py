"""That all that is computed on an accelerator stays there, on machines that have none."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import pretended


@pytest.mark.skipif(not pretended.AVAILABLE, reason="this torch has no backends in Python")
def test_every_method_and_whole_runs_keep_to_the_device_of_their_training(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.pretended", str(tmp_path)]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
