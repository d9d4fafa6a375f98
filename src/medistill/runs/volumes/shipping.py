"""From a trained segmenter to what is shipped: its folder, its file, and what it costs."""

import time
from collections.abc import Sequence
from typing import Any

import torch

from medistill.analysis.cost import cost, cost_together, ratios
from medistill.data.volumes.opening import OpenedVolumes
from medistill.export.volume_profile import ScanProfile, quantities
from medistill.models.deployed_segmenters import read_segmenter_config, save_segmenter
from medistill.models.lowrank.experts import with_experts
from medistill.models.segmenters.base import Answering, Segmenter
from medistill.results import RunFolder, write_json
from medistill.runs.bills import expert_ranks
from medistill.runs.volumes.outlining import Outliner
from medistill.runs.volumes.sizing import Sides

TIMED = 3  # volumes


def deploy(
    network: Answering, opened: OpenedVolumes, patch: Sides, run: RunFolder, extra: dict[str, Any]
) -> dict[str, Any]:
    """Write a network with all that a user of it must know; its config is returned."""
    dataset = opened.dataset
    config = {
        "task": dataset.task.name,
        "patch": list(patch),
        "preparation": dataset.preparation.as_document(),
        "modalities": sorted({opened.modality(row) for row in dataset.splits["train"].tolist()}),
        "profile": _profile(opened).as_document(),
        "volumes": {split: len(rows) for split, rows in dataset.splits.items()},
        **extra,
    }
    folder = run.deployed(dataset.task.name).path
    save_segmenter(network.cpu().eval(), folder, config)
    return read_segmenter_config(folder)


def save_costs(
    networks: Sequence[Answering],
    teacher: Segmenter | None,
    opened: OpenedVolumes,
    patch: Sides,
    run: RunFolder,
) -> None:
    """Measure what the student costs, and the teacher, on this machine's processor.

    Args:
        networks: Of each task; that of the first is measured.
        teacher: What taught it; None where nothing did.
        opened: The volumes of the first task.
        patch: Sides of what a network sees at a time.
        run: Holds the checkpoint.
    """
    network = networks[0]
    own = _cost(network, opened, patch)
    whole = None
    if teacher is not None:
        whole = _cost(Answering(teacher, network.classes), opened, patch)
    measured = {name: value for name, value in own.items() if name != "threads"}
    write_json(run.cost, {
        "student": own, "teacher": whole, "ratios": ratios(measured, whole) if whole else {},
        **_together([one.segmenter for one in networks], expert_ranks(run)),
    })  # fmt: skip


def _together(segmenters: Sequence[Segmenter], ranks: Sequence[int]) -> dict[str, Any]:
    """What all tasks' networks hold, as deployed and with experts not folded in."""
    if len(segmenters) < 2:
        return {}
    found: dict[str, Any] = {"together": cost_together(segmenters)}
    if ranks:
        unfused = with_experts(segmenters[0], ranks, multiples=segmenters[0].multiples)
        held = [*unfused.parameters(), *segmenters[0].buffers()]
        found["unfused"] = {
            "parameters": sum(each.numel() for each in unfused.parameters()),
            "bytes": sum(each.numel() * each.element_size() for each in held),
            "ranks": list(ranks),
        }
    return found


def _profile(opened: OpenedVolumes) -> ScanProfile:
    """What the training scans are like."""
    facts = [opened.facts[row] for row in opened.dataset.splits["train"].tolist()]
    return ScanProfile.of(quantities(one.spacing_mm(), one.low, one.high) for one in facts)


def _cost(network: Answering, opened: OpenedVolumes, patch: Sides) -> dict[str, Any]:
    """Of one patch, and the seconds of a whole volume with half overlap."""
    outliner = Outliner(network.cpu().eval(), patch, torch.device("cpu"))
    rows = opened.dataset.splits["validation"][:TIMED].tolist()
    outliner(opened.dataset.volumes.image(rows[0]))  # the first one warms up
    seconds = []
    for row in rows:
        start = time.perf_counter()
        outliner(opened.dataset.volumes.image(row))
        seconds.append(time.perf_counter() - start)
    return {
        **cost(network, (1, *patch)).as_dict(),
        "seconds_a_volume": sorted(seconds)[len(seconds) // 2],
        "threads": torch.get_num_threads(),
    }
