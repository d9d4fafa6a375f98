"""The model card: what a run made, from what, for what, and how well it does."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from medistill.export import volume_card
from medistill.export.markdown import listed, section, table
from medistill.export.origins import Origin, licences_of, source, start_of, student_of, teacher_of
from medistill.results import DeployedFolder, RunFolder, read_json, write_text

Facts = Mapping[str, Any]
Part = Callable[[Facts], str]

FEW = 300  # a 95 % interval of an accuracy is then at least some 6 points wide
COSTS = {
    "parameters": ("Parameters", 1e6, "M"),
    "macs": ("Multiply-accumulates for one image or patch", 1e9, "G"),
    "bytes": ("Weights", 1e6, "MB"),
    "latency_ms_p50": ("CPU latency, median", 1, "ms"),
    "latency_ms_p95": ("CPU latency, 95th percentile", 1, "ms"),
    "seconds_a_volume": ("CPU time for one volume, median", 1, "s"),
}


def write_card(run: RunFolder) -> None:
    """Write a run's `README.md` from the files that the run has so far."""
    write_text(run.card, model_card(card_facts(run)))


def card_facts(run: RunFolder) -> dict[str, Any]:
    """What `model_card` reads; a file that is not there is left out.

    The keys are `name`, `recipe`, `environment`, `metrics` and `cost` (as in their files), and
    `tasks`: the config of each deployed network.
    """
    facts: dict[str, Any] = {"name": run.path.resolve().name}
    if run.recipe.is_file():
        facts["recipe"] = yaml.safe_load(run.recipe.read_text(encoding="utf-8"))
    files = {"environment": run.environment, "metrics": run.metrics, "cost": run.cost}
    facts |= {name: read_json(path) for name, path in files.items() if path.is_file()}
    facts["tasks"] = {task: read_json(run.deployed(task).config) for task in run.tasks()}
    return facts


def model_card(facts: Facts) -> str:
    """The text of a model card, with the front matter that model hubs read.

    Args:
        facts: As `card_facts` gathers them; what is missing is left out of the card.
    """
    parts = [_front_matter(facts), *(_written(part, facts) for part in _SECTIONS)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _written(part: Part, facts: Facts) -> str:
    """A part of the card, as it is said of volumes where the networks outline them."""
    if part in _OF_VOLUMES and _outlines(facts):
        return _OF_VOLUMES[part](_answered(facts))
    return part(facts)


def _front_matter(facts: Facts) -> str:
    licences, teacher = licences_of(facts), teacher_of(facts)
    metrics = {
        name
        for tasks in facts.get("metrics", {}).values()
        for found in tasks.values()
        for name in found
        if name.isidentifier()  # "sensitivity/malignant" is of this task alone
    }
    document = {
        "license": licences[0].lower().replace(" ", "-") if len(licences) == 1 else "other",
        "pipeline_tag": "image-segmentation" if _outlines(facts) else "image-classification",
        "library_name": "onnx",
        "tags": ["medical-imaging", *_distilled(teacher), "medistill"],
        "datasets": [root for _, root in _roots(facts)],
        "metrics": sorted(metrics),
    }
    text = yaml.safe_dump({key: value for key, value in document.items() if value}, sort_keys=False)
    return f"---\n{text}---"


def _title(facts: Facts) -> str:
    teacher = teacher_of(facts)
    method = _part(facts, "method").get("name", "").replace("_", " ")
    how = f" ({method})" if method else ""
    return (
        f"# {facts.get('name', 'A medistill model')}\n\n{_what(facts, teacher)}{how}, for "
        f"{listed(facts.get('tasks') or ['images'])}. Made by medistill"
        f"{_version(facts)}.\n\n> **Not a medical device.** Nothing here has been cleared for "
        "diagnosis, for treatment, or for triage of patients."
    )


def _what(facts: Facts, teacher: Origin | None) -> str:
    """Which network it is, and who taught it."""
    if teacher and teacher.deployed:
        return f"`{teacher.name}`, frozen, with a linear layer of its own"
    student = source(student_of(facts).get("name", "A small network"))
    return f"`{student}`" + (f", taught by `{teacher.name}`" if teacher else "")


def _distilled(teacher: Origin | None) -> list[str]:
    return ["knowledge-distillation"] if teacher and not teacher.deployed else []


def _use(facts: Facts) -> str:
    answers = [f"- `{task}`: {listed(config['classes'])}" for task, config in _answered(facts)]
    return section(
        "Intended use",
        "Research, and evaluation on your own data before anything else."
        + (" Each image gets a probability for each class of a task:" if answers else ""),
        "\n".join(answers),
        "Out of scope: decisions about a patient, images of other kinds than those below, and "
        "findings that are none of the classes.",
    )


def _data(facts: Facts) -> str:
    noun = _noun(facts)
    counts = {task: config[noun] for task, config in _tasks(facts) if config.get(noun)}
    splits = list(dict.fromkeys(split for found in counts.values() for split in found))
    rows = [[task, *(found.get(split, 0) for split in splits)] for task, found in counts.items()]
    roots = "\n".join(f"- `{task}`: {root}" for task, root in _roots(facts))
    if not roots and not rows:
        return ""
    return section(
        "Data",
        roots,
        table([noun, *splits], rows) if rows else "",
        "Choices were made on the validation split, and the test split was read once, at the end. "
        "This card and the model hold no image, no name of a file, and nothing of a patient.",
    )


def _teacher(facts: Facts) -> str:
    teacher = teacher_of(facts)
    if not teacher or teacher.deployed:
        return ""
    lines = [f"`{teacher.name}`, frozen."]
    if teacher.random:
        lines.append("**Its weights were random**: it taught nothing that was ever learned.")
    start = start_of(facts)
    apart = "Nothing of the teacher is in the exported file."
    shared = "The exported file holds weights that began as the teacher's, see below."
    same = start is not None and teacher.name in (start.name, student_of(facts)["name"])
    return section("Teacher", "\n".join([*lines, teacher.terms]), shared if same else apart)


def _weights(facts: Facts) -> str:
    """What the exported file holds of a network that there was before."""
    teacher, start = teacher_of(facts), start_of(facts)
    held = teacher if teacher and teacher.deployed else start
    if not held:
        return ""
    told = f"The exported file holds the weights of `{held.name}`"
    how = ", as training left them." if held.tuned else " as they were, and one linear layer more."
    never = "**They were random**: nothing was ever learned by them."
    return section("Weights", told + how, never if held.random else "", held.terms)


def _method(facts: Facts) -> str:
    method, training = _part(facts, "method"), _part(facts, "training")
    start = student_of(facts).get("start")
    known = {
        **method,
        "student.start": source(start) if start else None,
        **{f"training.{key}": value for key, value in training.items()},
    }
    rows = [[key, f"`{value}`"] for key, value in known.items() if value is not None]
    return section("Method", table(["setting", "value"], rows)) if rows else ""


def _results(facts: Facts) -> str:
    told = []
    for split, tasks in facts.get("metrics", {}).items():
        # What choices were made on says little about new images.
        if split not in ("train", "validation"):
            told += [
                f"{task}, {split} split:\n\n{table(['metric', 'value', '95 % interval'], rows)}"
                for task, found in tasks.items()
                if (rows := [row for name, e in found.items() if (row := _estimate(name, e))])
            ]
    return section("Results", *told) if told else ""


def _estimate(name: str, estimate: Mapping[str, float | None]) -> list[str] | None:
    value, low, high = (estimate.get(key) for key in ("value", "low", "high"))
    if value is None:
        return None
    interval = f"{low:.3f} to {high:.3f}" if low is not None and high is not None else ""
    return [name.replace("_", " "), f"{value:.3f}", interval]


def _cost(facts: Facts) -> str:
    sides = [side for side in ("teacher", "student") if facts.get("cost", {}).get(side)]
    found = {side: facts["cost"][side] for side in sides}
    rows = []
    for key, (name, unit, symbol) in COSTS.items():
        values = [found[side].get(key) for side in sides]
        if any(value is not None for value in values):
            rows.append([name, *("" if v is None else f"{v / unit:.3g} {symbol}" for v in values)])
    return section("Size and speed", table(["", *sides], rows)) if rows else ""


def _preprocessing(facts: Facts) -> str:
    if not _answered(facts):
        return ""
    sizes = {config["size"] for _, config in _answered(facts) if "size" in config}
    stretched = any(config.get("stretch") for _, config in _answered(facts))
    stretch = "stretched from the lowest to the highest value, " if stretched else ""
    size = f" to {listed(f'{size} x {size}' for size in sorted(sizes))} pixels" if sizes else ""
    return section(
        "Preprocessing",
        "The ONNX file holds all of it: uint8 pixels of any height and width, in three channels "
        f"(grey repeated), are resized{size} (triangle filter with antialiasing, the sides' ratio "
        f"not kept), rounded, {stretch}normalised, and answered with probabilities after "
        "temperature scaling. 16-bit and float images are first stretched from their lowest to "
        "their highest value, and DICOM is shown in its own window; `medistill predict` does both.",
    )


def _limits(facts: Facts) -> str:
    tests = {task: config.get("images", {}).get("test", 0) for task, config in _tasks(facts)}
    few = [task for task, count in tests.items() if 0 < count < FEW]
    return section(
        "Limitations",
        "- The intervals tell what another draw of images from the same source would change; other "
        "scanners, hospitals and populations can change more. Evaluate there: `medistill evaluate "
        "RUN --data ROOT`.\n"
        "- Probabilities are calibrated for the shares of classes in the validation split.\n"
        "- `unlike` flags images of unusual size, values, brightness or colour. It does not notice "
        "another organ or another disease.",
        f"- Few test images: {listed(few)}. Read the intervals, not the values." if few else "",
    )


def _how_to(facts: Facts) -> str:
    if not _answered(facts):
        return ""
    task, config = _answered(facts)[0]
    path = DeployedFolder(Path("deployed", task)).onnx.as_posix()
    classes = list(config["classes"])
    return section(
        "How to use",
        f"```bash\nmedistill predict {path} images/ --out predictions.csv\n```",
        "Or with ONNX Runtime alone:",
        "```python\n"
        "import numpy as np, onnxruntime\n"
        "from PIL import Image\n"
        f'session = onnxruntime.InferenceSession("{path}")\n'
        'image = np.asarray(Image.open("image.png").convert("RGB"))[None]\n'
        '(probabilities,) = session.run(["probabilities"], {"image": image})\n'
        f"print(dict(zip({classes!r}, probabilities[0])))\n"
        "```",
    )


def _part(facts: Facts, name: str) -> dict[str, Any]:
    return dict(facts.get("recipe", {}).get(name) or {})


def _tasks(facts: Facts) -> list[tuple[str, dict[str, Any]]]:
    return list(facts.get("tasks", {}).items())


def _noun(facts: Facts) -> str:
    return "volumes" if _outlines(facts) else "images"


def _outlines(facts: Facts) -> bool:
    """Whether the networks outline organs in volumes, and do not name the classes of images."""
    return any(config.get("kind") == "segmentation" for _, config in _answered(facts))


def _answered(facts: Facts) -> list[tuple[str, dict[str, Any]]]:
    """Tasks with classes; a network that learned without labels has none, and no ONNX file."""
    return [(task, config) for task, config in _tasks(facts) if config.get("classes")]


def _roots(facts: Facts) -> list[tuple[str, str]]:
    """Tasks with the names of their folders; where those lie is nobody's business."""
    roots = _part(facts, "data").get("roots", {})
    return [(task, Path(root["root"]).name) for task, root in roots.items()]


def _version(facts: Facts) -> str:
    version = facts.get("environment", {}).get("versions", {}).get("medistill")
    return f" {version}" if version else ""


_SECTIONS = (
    _title, _use, _data, _teacher, _weights, _method, _results, _cost, _preprocessing, _limits,
    _how_to,
)  # fmt: skip
_OF_VOLUMES = {
    _use: volume_card.use,
    _preprocessing: volume_card.preprocessing,
    _limits: volume_card.limits,
    _how_to: volume_card.how_to,
}
