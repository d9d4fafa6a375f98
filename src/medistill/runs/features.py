"""What networks say of the images of a split, in one pass, and how alike they see them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medistill.analysis.similarity import cka_matrix
from medistill.losses.similarity import MINIMUM_ROWS
from medistill.runs.console import Console
from medistill.runs.shipping import batches
from medistill.runs.subjects import Looked, Subject
from medistill.training.devices import placed

BATCH = 256  # images whose Gram matrices are compared at once


@dataclass(frozen=True)
class Seen:
    """What a network says of all images of a split, in the order of the split.

    Args:
        features: Pooled, as its head takes them.
        scales: Each of its maps, pooled, fine to coarse.
        logits: None where it does not answer.
    """

    features: Tensor
    scales: tuple[Tensor, ...]
    logits: Tensor | None


def see(looked: Looked, device: torch.device, console: Console) -> list[Seen]:
    """Show all images of the split to every subject."""
    found = []
    total = len(looked.opened.dataset.splits[looked.split])
    for subject in looked.subjects:
        with console.track(f"{subject.name}, images", total) as advance:
            parts = []
            for batch in batches(looked.opened, looked.split):
                parts.append(_seen(subject, placed(batch, device)))
                advance(sum(len(part.features) for part in parts), "")
        found.append(_together(parts))
    return found


def compare(looked: Looked, seen: Sequence[Seen]) -> dict[str, Any] | None:
    """CKA of every pair of networks, and of the scales of the first run and the first teacher.

    Returns:
        Plain values; None where there are too few images.
    """
    if len(seen[0].features) < MINIMUM_ROWS:
        return None
    matrix = cka_matrix([each.features for each in seen], batch_size=BATCH)
    return {
        "images": len(seen[0].features),
        "names": [subject.name for subject in looked.subjects],
        "cka": matrix.tolist(),
        "scales": _scales(looked, seen),
    }


def _scales(looked: Looked, seen: Sequence[Seen]) -> dict[str, Any] | None:
    """CKA of each map of the first run with each of its teacher, fine to coarse."""
    teacher, student = seen[0].scales, seen[looked.subjects.index(looked.first)].scales
    if looked.subjects[0] is looked.first or not teacher:
        return None
    matrix = cka_matrix([*student, *teacher], batch_size=BATCH)
    return {
        "rows": looked.first.name,
        "columns": looked.subjects[0].name,
        "cka": matrix[: len(student), len(student) :].tolist(),
    }


def _seen(subject: Subject, batch: Any) -> Seen:
    output = subject.ask(batch)
    scales = tuple(each.flatten(2).mean(2).float().cpu() for each in output.maps)
    logits = output.logits.float().cpu() if subject.answers and output.logits is not None else None
    return Seen(output.features.float().cpu(), scales, logits)


def _together(parts: Sequence[Seen]) -> Seen:
    logits = [part.logits for part in parts if part.logits is not None]
    return Seen(
        torch.cat([part.features for part in parts]),
        tuple(torch.cat(scale) for scale in zip(*(part.scales for part in parts), strict=True)),
        torch.cat(logits) if logits else None,
    )
