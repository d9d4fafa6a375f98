"""Images that are opened as a run opens them, and networks that look at them, without a run."""

from medistill.data.opening import Opened
from medistill.recipe import Recipe, validate
from medistill.runs.console import Console
from medistill.runs.images import open_images
from medistill.runs.subjects import Looked, Subject
from tests.tiny import tiny_student
from tests.trained import Phantoms


def recipe_of(phantoms: Phantoms) -> Recipe:
    data = {
        "root": str(phantoms.breast),
        "name": "breast",
        "size": 32,
        "store": str(phantoms.store),
    }
    return validate({
        "data": data, "student": "timm/test_efficientnet", "method": "student_alone",
        "evaluation": {"draws": 20},
    })  # fmt: skip


def open_breast(phantoms: Phantoms) -> Opened:
    """15 images of each of three classes to learn from and validate, 18 in all to test."""
    (opened,) = open_images(recipe_of(phantoms), None, Console(quiet=True))
    return opened


def looked(opened: Opened, *subjects: Subject, split: str = "test") -> Looked:
    classes = opened.dataset.task.classes
    return Looked("breast", classes, split, opened, subjects, subjects[-1])


def subject(name: str, width: int = 6, answers: bool = True) -> Subject:
    return Subject(name, tiny_student(width).eval(), answers)
