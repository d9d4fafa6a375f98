"""Whether a run is about images or about volumes."""

import subprocess
import sys

from medistill.recipe import validate
from medistill.runs.roots import volume_roots
from tests.trained import Phantoms

VERBS = ("train", "check", "evaluate", "export", "predict", "report", "compare", "analyze")


def test_who_classifies_images_imports_nothing_for_volumes(phantoms: Phantoms) -> None:
    verbs = ", ".join(f"medistill.runs.{verb}" for verb in VERBS)
    code = f"""
import sys, {verbs}
from medistill.recipe import validate
from medistill.runs.roots import volume_roots
assert not volume_roots(validate({{"data": {{"root": {str(phantoms.breast)!r}}}}}))
print([name for name in ("monai", "nibabel") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_images_in_every_form_are_no_volumes(phantoms: Phantoms) -> None:
    for root in (phantoms.breast, phantoms.brain, phantoms.flat):
        assert not volume_roots(validate({"data": {"root": str(root)}}))


def test_a_manifest_of_images_stays_one_when_it_is_named(phantoms: Phantoms) -> None:
    root = {"root": str(phantoms.breast), "layout": "manifest"}
    assert not volume_roots(validate({"data": root}))
