"""What `import medistill` offers."""

import subprocess
import sys

import pytest

import medistill
from tests.trained import Finished


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys, medistill; print(sorted(m for m in sys.modules if 'medistill.' in m))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", medistill.__all__)
def test_each_public_name_stays_what_it_is_whatever_was_imported_before(name: str) -> None:
    import medistill.export.onnx
    import medistill.report.page

    assert callable(getattr(medistill, name))


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(AttributeError, match="it offers UserError, read_recipe, train"):
        _ = medistill.distil


def test_a_finished_run_gives_its_network(finished: Finished) -> None:
    import torch

    student = medistill.load(finished.path)
    assert student(torch.rand(2, 3, 32, 32)).logits.shape == (2, 3)
    assert not student.training


def test_a_folder_that_is_no_run_is_named() -> None:
    with pytest.raises(medistill.UserError, match="No run at nowhere"):
        medistill.load("nowhere")
