"""What the networks of several tasks cost: each, all together, and with experts not folded in."""

from collections.abc import Mapping
from itertools import chain
from statistics import fmean
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from medistill.analysis.cost import cost, cost_together
from medistill.models.deployed import load_deployed
from medistill.models.lowrank.experts import Decomposed, with_experts
from medistill.models.networks import Student
from medistill.results import SHARED, RunFolder
from medistill.training.checkpoint import load_checkpoint

LATENCIES = ("latency_ms_p50", "latency_ms_p95")
RANKS = "decomposed._extra_state"  # of a method with experts, in its checkpoint


def costs_of_several(run: RunFolder, size: int, first: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `cost.json` on several tasks; nothing for one.

    Args:
        run: Its networks are deployed.
        size: Side of the images.
        first: Cost of the first task's network: what has its work has its latency.
    """
    tasks = run.tasks()
    if len(tasks) < 2:
        return {}
    networks = {task: load_deployed(run.deployed(task).path)[0] for task in tasks}
    each = {task: _cost(network, size, first) for task, network in networks.items()}
    unfused = cost_unfused(run, networks, size)
    return {
        "tasks": each,
        "together": cost_together(list(networks.values())),
        **({"unfused": unfused} if unfused else {}),
    }


def cost_unfused(
    run: RunFolder, networks: Mapping[str, Student], size: int
) -> dict[str, Any] | None:
    """Backbone, heads and experts as they were trained; None for a run without experts.

    All tasks are kept so in the fewest numbers. The work is that of one image alone, for which an
    expert's weights are built or gone through as in training: the mean over the experts, whose
    ranks may differ.

    Args:
        run: Holds its checkpoint, and the shared backbone.
        networks: Of each task.
        size: Side of the images.
    """
    ranks = expert_ranks(run)
    if not ranks or not run.deployed(SHARED).config.exists():
        return None
    backbone = load_deployed(run.deployed(SHARED).path)[0].encoder
    decomposed = with_experts(backbone, ranks).eval()
    heads = chain.from_iterable(network.head.parameters() for network in networks.values())
    held = [*decomposed.parameters(), *heads]
    macs = round(fmean(_macs(decomposed, expert, size) for expert in range(len(ranks))))
    return {
        "parameters": sum(map(torch.numel, held)),
        "bytes": sum(each.numel() * each.element_size() for each in [*held, *backbone.buffers()]),
        "macs": macs,
        "flops": 2 * macs,
        "ranks": ranks,
    }


def expert_ranks(run: RunFolder) -> list[int]:
    """Of each region's expert, in the order of the regions; none for a run without experts."""
    return list((load_checkpoint(run.best).method.get(RANKS) or {}).get("ranks", ()))


def _macs(decomposed: Decomposed, expert: int, size: int) -> int:
    """Of one image of an expert's; computed for real, for experts do not run on shapes alone."""
    routed = decomposed.routing.to(torch.full((1,), expert))
    with torch.inference_mode(), routed, FlopCounterMode(display=False) as counter:
        decomposed(torch.zeros(1, 3, size, size))
    return int(counter.get_total_flops()) // 2


def _cost(network: Student, size: int, first: Mapping[str, Any]) -> dict[str, Any]:
    """Of one network; its latency where it is that of the first."""
    found = cost(network, (3, size, size))
    # The same backbone on the same images: another measurement would differ by its noise alone.
    same = found.convolution_macs == first["convolution_macs"]
    return {**found.as_dict(), **({key: first[key] for key in LATENCIES} if same else {})}
