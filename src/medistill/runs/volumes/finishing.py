"""From the chosen checkpoint to everything that a run on volumes leaves."""

import time
from collections.abc import Mapping
from typing import Any

from torch import nn

from medistill.case_results import CaseResult, write_cases
from medistill.data.volumes.opening import OpenedVolumes
from medistill.evaluation.volumes import judge_regions
from medistill.models.deployed_segmenters import save_segmenter
from medistill.models.segmenters.base import Answering
from medistill.results import SHARED, Metrics, write_json, write_metrics
from medistill.runs.ancestry import inherited_licences
from medistill.runs.images import counting
from medistill.runs.recording import conclude
from medistill.runs.shipping import merge
from medistill.runs.volumes.exporting import export_task
from medistill.runs.volumes.judging import JUDGED_SPLITS, Judge
from medistill.runs.volumes.outlining import Outliner, answering, by_task
from medistill.runs.volumes.preparing import VolumeJob
from medistill.runs.volumes.shipping import deploy, save_costs
from medistill.training.checkpoint import load_checkpoint


def finish(job: VolumeJob, *, earlier: float = 0.0) -> None:
    """Judge, export and describe what validation chose, and mark the run as finished.

    Args:
        job: Its training is over.
        earlier: Seconds that attempts before this one took.
    """
    job.method.load_state_dict(load_checkpoint(job.run.best).method)
    deployed = job.method.deploy()
    networks = by_task(deployed, [one.dataset for one in job.opened])
    _judge(job, networks)
    _judge_teacher(job)
    # Beside experts lies the backbone that they share: what starts elsewhere starts from that.
    _ship(job, networks, one_network=SHARED not in deployed and _one_network(networks))
    if SHARED in deployed:
        _ship_shared(job, deployed[SHARED])
    conclude(job.run, job.console, seconds=earlier + time.time() - job.started)


def _judge(job: VolumeJob, networks: Mapping[str, Answering]) -> None:
    """Scores of all validation and test volumes, their means, and pictures of the worst."""
    every: list[CaseResult] = []
    index: list[dict[str, object]] = []
    measured = []
    for one in job.opened:
        name = one.name
        judge = _judge_of(networks[name], job, one)
        found = {}
        for split in JUDGED_SPLITS:
            total = len(one.dataset.splits[split])
            with counting(job.console, f"{name}: {split}", total) as on_progress:
                found[split] = judge.cases(split, on_progress)
            every += found[split]
        draws = job.recipe.evaluation.draws
        parts = {split: judge.estimates(cases, draws) for split, cases in found.items() if cases}
        measured.append((name, parts))
        test = found["test"]
        before = len(every) - len(test)
        index += judge.draw(test, job.run, first=len(index) + 1, before=before)
    write_cases(job.run.cases, every)
    write_metrics(job.run.metrics, merge(measured))
    write_metrics(job.run.regions, _by_region(job, every))
    write_json(job.run.slices / "index.json", index)


def _judge_of(network: Answering, job: VolumeJob, one: OpenedVolumes) -> Judge:
    outliner = Outliner(network, job.patch, job.device)
    return Judge(outliner, one, job.recipe.evaluation.tolerance_mm)


def _by_region(job: VolumeJob, cases: list[CaseResult]) -> Metrics:
    """Means over tasks, classes and regions of each split that has a case of every task."""
    regions = {one.name: one.dataset.task.region for one in job.opened}
    draws, found = job.recipe.evaluation.draws, {}
    for split in JUDGED_SPLITS:
        part = [case for case in cases if case.split == split]
        if {case.task for case in part} == {*regions}:
            found[split] = judge_regions(part, regions, draws=draws)
    return found


def _judge_teacher(job: VolumeJob) -> None:
    """Metrics of the teacher on the very same test volumes."""
    if job.known is None:
        return
    measured = []
    for one in job.opened:
        asked = Answering(job.known.segmenter, one.dataset.task.classes)
        judge = _judge_of(asked, job, one)
        total = len(one.dataset.splits["test"])
        with counting(job.console, f"{one.name}: the teacher", total) as on_progress:
            cases = judge.cases("test", on_progress)
        draws = job.recipe.evaluation.draws
        measured.append((one.name, {"test": judge.estimates(cases, draws)}))
    write_metrics(job.run.teacher_metrics, merge(measured))


def _ship(job: VolumeJob, networks: Mapping[str, Answering], *, one_network: bool) -> None:
    """Deploy each network, as torch and as a file of its own; `one_network` serves any start."""
    extra = {**_provenance(job), "shared_encoder": one_network}
    for one in job.opened:
        task = one.dataset.task
        network = networks[task.name]
        alike = {o.dataset.task.name: networks[o.dataset.task.name] for o in job.opened
                 if o.dataset.task.region == task.region}  # fmt: skip
        region = task.region if _one_network(alike) else None
        config = deploy(network, one, job.patch, job.run, {**extra, "region": region})
        job.console.say(f"{task.name}: {export_task(job.run, config, network, one)}")
    first = job.opened[0]
    teacher = job.known.segmenter if job.known else None
    ordered = [networks[one.name] for one in job.opened]
    save_costs(ordered, teacher, first, job.patch, job.run)


def _ship_shared(job: VolumeJob, network: nn.Module) -> None:
    """Write the backbone without experts: a start for what no expert fits."""
    config = {
        "task": SHARED,
        "patch": list(job.patch),
        "preparation": job.opened[0].dataset.preparation.as_document(),
        **_provenance(job),
    }
    folder = job.run.deployed(SHARED).path
    save_segmenter(answering(network).cpu().eval(), folder, config)


def _one_network(networks: Mapping[str, Answering]) -> bool:
    """Whether all are answers of one network: then any of them starts another run."""
    return len({id(network.segmenter) for network in networks.values()}) == 1


def _provenance(job: VolumeJob) -> dict[str, Any]:
    licences = dict.fromkeys([*inherited_licences(job.recipe), *job.licences])
    return {"licences": list(licences), "method": job.recipe.method["name"]}
