"""A network on disk, from which it is built again without a recipe: tensors and a JSON file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.models.adapters.base import AdaptedEncoder, with_adapters
from medistill.models.backbones.base import BackboneSpec, build_backbone
from medistill.models.networks import Encoder, Student
from medistill.results import SHARED as SHARED
from medistill.results import RunFolder, replacing, write_json

FORMAT = 1
_TENSORS, _CONFIG = "model.safetensors", "config.json"


def save_deployed(student: Student, folder: Path, config: Mapping[str, Any]) -> None:
    """Write `model.safetensors` and `config.json`, each whole or not at all.

    Args:
        student: What is deployed; its backbone, adapters and normalisation go into the config.
        folder: Made if need be.
        config: `task`, `classes` (names), `size`, and what else readers may want; plain values.
            `size` is that of the images it is given: an encoder with a size of its own, noted as
            `network_size`, resizes them once more.
    """
    encoder = student.encoder
    document = {
        **config,
        "backbone": {"name": encoder.backbone.spec.name, "options": encoder.backbone.spec.options},
        "mean": list(encoder.mean),
        "std": list(encoder.std),
        "stretch": encoder.stretch,
        "size": config.get("size") or encoder.size,
        "network_size": encoder.size,
        "outputs": student.head.out_features,
    }
    if isinstance(encoder, AdaptedEncoder):
        document["adapters"] = encoder.adapters
    # Without classes the outputs are features: what a label-free training regresses.
    if config["classes"] and len(config["classes"]) != student.head.out_features:
        raise ValueError(f"{student.head.out_features} logits for {len(config['classes'])} classes")
    write_tensors(student, folder)
    write_config(folder, document)


def load_deployed(folder: Path) -> tuple[Student, dict[str, Any]]:
    """The network in a folder, ready for use (`eval`), and its config.

    Raises:
        UserError: The folder holds no network, or one that this version does not know.
    """
    config = read_config(folder)
    spec = _spec(config)
    encoder = Encoder(
        build_backbone(spec.name, spec.options),
        mean=config["mean"],
        std=config["std"],
        stretch=config.get("stretch", False),  # unknown to older versions
        size=config.get("network_size") or config["size"],
    )
    if "adapters" in config:
        encoder = with_adapters(encoder, **config["adapters"])
    student = Student(encoder, config["outputs"])
    try:
        student.load_state_dict(read_tensors(folder))
    except RuntimeError as error:
        raise UserError(f"{folder}: its tensors are not those of {spec.name}.") from error
    return student.eval(), config


def read_config(folder: Path) -> dict[str, Any]:
    """The config of a deployed network; see `load_deployed` for the errors."""
    path = folder / _CONFIG
    if not path.is_file():
        raise UserError(f"No deployed network at {folder} (looked for {path.resolve()}).")
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON; export the run again.") from error
    if config.get("format") != FORMAT:
        raise UserError(
            f"{path} has format {config.get('format')!r}, but this medistill reads {FORMAT}."
        )
    return config


def load_start(encoder: Encoder, run: Path, task: str | None = None) -> dict[str, Any]:
    """Start an encoder from the network that another run deployed, with its normalisation.

    Args:
        encoder: Changed in place, all or nothing.
        run: Folder of the run, or of one deployed network.
        task: Which of the run's networks, by any name that `find_deployed` knows.

    Returns:
        The config of the network that was taken.

    Raises:
        UserError: No such network, or one with another backbone.
    """
    folder = find_deployed(run, task)
    config = read_config(folder)
    theirs, ours = _spec(config), encoder.backbone.spec
    if "adapters" in config:
        raise UserError(
            f"start: {run} holds {theirs.name} with {config['adapters']['name']}, which no plain "
            "network starts from. Make it the student itself: student.name=run:FOLDER."
        )
    if theirs != ours:
        raise UserError(f"start: {run} holds {_told(theirs)}, but the student is {_told(ours)}.")
    prefix = "encoder."
    state = {n.removeprefix(prefix): t for n, t in read_tensors(folder).items() if prefix in n}
    try:
        encoder.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"start: the tensors in {folder} are not those of {ours.name}.") from error
    encoder.normalise_by(config["mean"], config["std"])
    encoder.stretch = config.get("stretch", False)
    return config


def find_deployed(run: Path, task: str | None = None) -> Path:
    """The folder of one deployed network of a run; `run` may be that folder itself.

    Without a name it is the only one, or any of those that have one encoder in common.

    Args:
        run: Folder of the run, or of one network.
        task: A task; a region, whose tasks have one encoder; or `shared`, the backbone that all
            tasks have in common.

    Raises:
        UserError: There is none, none of that name, or several and no name.
    """
    if task is None and (run / _CONFIG).is_file():
        return run
    tasks = RunFolder(run).tasks()
    if not tasks:
        raise UserError(f"No deployed network in {run} (looked in {(run / 'deployed').resolve()}).")
    named = _named(run, tasks)
    if task is None and (len(tasks) == 1 or _one_encoder(run, tasks[0])):
        task = tasks[0]
    if task not in named:
        asked = "name one of its tasks" if task is None else f"it has no task {task!r}"
        raise UserError(f"{run}: {asked}; it holds {', '.join(named)}.")
    return run / "deployed" / named[task]


def count_deployed(run: Path) -> int:
    """How many networks a run deployed; the folder of one network counts as one."""
    return 1 if (run / _CONFIG).is_file() else len(RunFolder(run).tasks())


def _named(run: Path, tasks: Sequence[str]) -> dict[str, str]:
    """Folders by all names that they have: tasks, then regions, then what all share."""
    named = dict(zip(tasks, tasks, strict=True))
    for task in tasks:
        region = read_config(run / "deployed" / task).get("region")
        if region:  # the first of a region serves as well as any
            named.setdefault(region, task)
    if (run / "deployed" / SHARED / _CONFIG).is_file():
        named[SHARED] = SHARED
    elif _one_encoder(run, tasks[0]):
        named[SHARED] = tasks[0]
    return named


def _one_encoder(run: Path, task: str) -> bool:
    """Whether a run's networks are heads on one encoder, as its config says (`shared_encoder`)."""
    return bool(read_config(run / "deployed" / task).get("shared_encoder"))


def _spec(config: Mapping[str, Any]) -> BackboneSpec:
    if "backbone" not in config:
        raise UserError(
            f"{config.get('task')} is outlined by a segmenter, where a network that classifies "
            "images is needed. Name another run."
        )
    return BackboneSpec(config["backbone"]["name"], config["backbone"]["options"])


def write_tensors(network: nn.Module, folder: Path) -> None:
    """Write a network's state, whole or not at all."""
    # Cloned, because safetensors refuses tensors that share memory.
    state = {n: t.detach().cpu().clone().contiguous() for n, t in network.state_dict().items()}
    with replacing(folder / _TENSORS) as draft:
        # Through memory: safetensors hides a full disk behind an error of its own.
        draft.write_bytes(save(state, metadata={"format": "pt"}))


def write_config(folder: Path, document: Mapping[str, Any]) -> None:
    """Write what `read_config` reads, in this version's format."""
    write_json(folder / _CONFIG, {**document, "format": FORMAT})


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """What `write_tensors` wrote; see `load_deployed` for the errors."""
    path = folder / _TENSORS
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is missing or damaged ({error}); export the run again.") from error
    return tensors


def _told(spec: BackboneSpec) -> str:
    options = ", ".join(f"{name}: {value}" for name, value in spec.options.items())
    return f"{spec.name} {{{options}}}" if options else spec.name
