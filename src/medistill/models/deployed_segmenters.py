"""A segmenter on disk, from which it is built again without a recipe, and what others start from.

The files are those of `deployed.py`; their config says `kind: segmentation`.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from medistill.errors import UserError
from medistill.models.deployed import (
    find_deployed,
    read_config,
    read_tensors,
    write_config,
    write_tensors,
)
from medistill.models.lowrank.experts import Decomposed, expert
from medistill.models.matching import Match, match, refused, shapes
from medistill.models.released_experts import place_of, with_released_experts
from medistill.models.released_segmenters.base import ReleasedSegmenter, releases
from medistill.models.segmenters.base import Answering, Segmenter, build_segmenter
from medistill.models.state_files import read_state
from medistill.models.weights import WeightsReport, digest, file_digest

KIND = "segmentation"
_WRAPPERS = ("module.", "_orig_mod.", "segmenter.")
# Options that no tensor's meaning depends on, and those that its shape tells.
_FREE = ("dropout", "learned_queries", "embedding", "feedforward", "mask", "query_length")


def save_segmenter(answering: Answering, folder: Path, config: Mapping[str, Any]) -> None:
    """Write `model.safetensors` and `config.json`, each whole or not at all.

    Args:
        answering: What is deployed; its classes and its segmenter go into the config.
        folder: Made if need be.
        config: `task`, and what else readers may want (patch, preparation); plain values.
    """
    segmenter = answering.segmenter
    document = {
        **config,
        "kind": KIND,
        "segmenter": {"name": segmenter.spec.name, "options": segmenter.portable},
        "vocabulary": list(segmenter.vocabulary),
        "classes": list(answering.classes),
    }
    write_tensors(segmenter, folder)
    write_config(folder, document)


def load_segmenter(folder: Path) -> tuple[Answering, dict[str, Any]]:
    """The network in a folder, ready for use (`eval`), and its config.

    Raises:
        UserError: The folder holds no segmenter, or one that this version does not know.
    """
    config = read_segmenter_config(folder)
    told = config["segmenter"]
    segmenter = build_segmenter(told["name"], told["options"], config["vocabulary"])
    try:
        segmenter.load_state_dict(read_tensors(folder))
    except RuntimeError as error:
        raise UserError(f"{folder}: its tensors are not those of {told['name']}.") from error
    return Answering(segmenter, config["classes"]).eval(), config


def read_segmenter_config(folder: Path) -> dict[str, Any]:
    """The config of a deployed segmenter; see `load_segmenter` for the errors."""
    config = read_config(folder)
    if config.get("kind") != KIND:
        raise UserError(f"{folder} holds a network that classifies images, and no segmenter.")
    return config


def load_segmenter_weights(
    segmenter: Segmenter,
    source: str | Path,
    *,
    task: str | None = None,
    expert: str | int | None = None,
    role: str = "start",
) -> WeightsReport:
    """Put weights into a segmenter, all or nothing; a pickle is never executed.

    What belongs to a class, such as the vector of its query, is found by the class' name; classes
    that the source does not know keep what they have.

    Args:
        segmenter: Changed in place.
        source: `random` keeps what it has; else a run, the folder of a deployed network, a file of
            tensors by our names, or a released checkpoint as its authors hand it out.
        task: Which of a run's networks.
        expert: Region, or place, of the low-rank expert that is folded into the weights, out of a
            released decomposition; its shared backbone alone by default.
        role: How errors call the weights.

    Raises:
        UserError: No such thing, another network, or a tensor that finds no place.
    """
    path = Path(source).expanduser()
    if str(source) == "random":
        return WeightsReport("random", digest(segmenter))
    folder = _folder(path, task)
    left_out: tuple[str, ...] = ()
    licence, released = None, False
    if folder is not None:
        tensors = _of_folder(segmenter, folder, role)
        path = folder / "model.safetensors"
    else:
        found = _Found.in_file(segmenter, path, role)
        tensors, left_out = found.match.tensors(found.state), tuple(found.match.unused)
        licence = found.release.licence if found.release else None
        released = found.release is not None
        if expert is not None:
            tensors = _folded(segmenter, found, tensors, expert, role)
    segmenter.load_state_dict(tensors, strict=False)
    return WeightsReport(str(source), file_digest(path), left_out, licence, released)


def load_released_experts(
    segmenter: Segmenter, source: str | Path, *, role: str = "start"
) -> Decomposed:
    """A released decomposition: its shared weights in the segmenter, and a copy with its experts.

    Args:
        segmenter: Of the file's shapes, such as `sat/lorkd_nano`; takes the shared weights.
        source: The file as its authors hand it out.
        role: How errors call the weights.

    Raises:
        UserError: As `load_segmenter_weights`, or the file has no experts.
    """
    found = _Found.in_file(segmenter, Path(source).expanduser(), role)
    whole = _decomposed(segmenter, found, found.match.tensors(found.state), role)
    segmenter.load_state_dict(expert(whole, None).state_dict())
    return whole


@dataclass(frozen=True)
class _Found:
    """What a file has for a segmenter: by the names of a release, or by ours where that is None."""

    match: Match
    release: type[ReleasedSegmenter] | None
    state: dict[str, Tensor]

    @classmethod
    def in_file(cls, segmenter: Segmenter, path: Path, role: str) -> "_Found":
        """By whichever names it has the most; refused where it has not all."""
        state = read_state(path, role=role)
        tried = [cls(_own_match(segmenter, state), None, state)]
        # Authors call the same tensor by several names; each is counted once.
        for release in releases():
            once = release.untwinned(state)
            tried.append(cls(release.match(segmenter, once), release, once))
        # Fewest complaints, ours first among equals: the line tells of the form that was meant.
        best = min(tried, key=lambda found: len(found.match.complaints))
        if best.match.complaints:
            told = f"Is this {segmenter.spec.name}, with these `options`?"
            raise refused(role, best.match, told)
        return best


def _own_match(segmenter: Segmenter, state: Mapping[str, Tensor]) -> Match:
    found = match(shapes(segmenter.state_dict()), state, prefixes=_WRAPPERS)
    return found.complaining(f"{key} is unknown" for key in found.unused)


def _decomposed(
    segmenter: Segmenter, found: _Found, tensors: Mapping[str, Tensor], role: str
) -> Decomposed:
    """The file's network with the file's experts; the segmenter stays as it is."""
    if found.release is None:
        raise UserError(f"{role} weights: the file is no released decomposition.")
    prefix = found.match.prefix
    state = {key.removeprefix(prefix): t for key, t in found.state.items()}
    # Only once experts are known to fit may anything change what the caller holds.
    shared = copy.deepcopy(segmenter)
    shared.load_state_dict(tensors, strict=False)
    return with_released_experts(found.release, shared, state, role)


def _folded(
    segmenter: Segmenter,
    found: _Found,
    tensors: Mapping[str, Tensor],
    place: str | int,
    role: str,
) -> dict[str, Tensor]:
    whole = _decomposed(segmenter, found, tensors, role)
    assert found.release is not None
    place = place_of(place, found.release, len(whole.experts), role)
    return expert(whole, place).state_dict()


def _folder(path: Path, task: str | None) -> Path | None:
    """Where a deployed network lies; None for a file that is none of ours."""
    if path.name == "model.safetensors" and path.with_name("config.json").is_file():
        return path.parent
    return find_deployed(path, task) if path.is_dir() else None


def _of_folder(segmenter: Segmenter, folder: Path, role: str) -> dict[str, Tensor]:
    """The tensors of a deployed network, what belongs to a class at our place of it."""
    config = read_segmenter_config(folder)
    _refuse_other(segmenter, config["segmenter"], f"{role}: {folder}")
    tensors, own = read_tensors(folder), segmenter.state_dict()
    for name in segmenter.by_class:
        # Vectors of another length stay, for the complaint below to tell both.
        if own[name].shape[1:] == tensors[name].shape[1:]:
            tensors[name] = _placed(
                own[name], tensors[name], segmenter.vocabulary, config["vocabulary"]
            )
    found = match(shapes(own), tensors)
    if found.complaints:
        raise refused(role, found, "Give it the options of that run, `queries` among them.")
    return tensors


def _refuse_other(segmenter: Segmenter, told: Mapping[str, Any], where: str) -> None:
    """Refuse tensors of a network that differs in more than its vocabulary."""
    theirs, ours = _form(**told), _form(segmenter.spec.name, segmenter.portable)
    if theirs != ours:
        apart = sorted(k for k in theirs.keys() | ours.keys() if theirs.get(k) != ours.get(k))
        raise UserError(
            f"{where} holds another network than this {segmenter.spec.name}: "
            f"{', '.join(f'{k} is {theirs.get(k)} there and {ours.get(k)} here' for k in apart)}."
        )


def _form(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a network but for its vocabulary, as JSON holds it."""
    told = {key: value for key, value in options.items() if key not in _FREE}
    # Tuples of options that were never on disk would differ from the lists of those that were.
    return {"name": name, **json.loads(json.dumps(told))}


def _placed(own: Tensor, theirs: Tensor, classes: Sequence[str], known: Sequence[str]) -> Tensor:
    """Rows of the classes that both know from theirs, the others as they are."""
    rows = own.clone()
    for place, name in enumerate(classes):
        if name in known:
            rows[place] = theirs[known.index(name)]
    return rows
