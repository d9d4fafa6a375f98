"""From the chosen checkpoint to everything that a run leaves; begun anew when it was stopped."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from medistill.models.deployed import save_deployed
from medistill.models.networks import Student
from medistill.results import (
    SHARED,
    Estimate,
    PredictionTable,
    write_metrics,
    write_predictions,
)
from medistill.runs.ancestry import inherited_licences
from medistill.runs.export import export_task
from medistill.runs.preparing import Job
from medistill.runs.recording import conclude
from medistill.runs.shipping import (
    Judged,
    batches,
    deploy,
    judge_network,
    judged,
    merge,
    save_costs,
    save_worst,
)
from medistill.runs.unified import unified_metrics
from medistill.runs.validating import by_task
from medistill.training.checkpoint import load_checkpoint


def finish(job: Job, *, earlier: float = 0.0) -> None:
    """Judge, export and describe what validation chose, and mark the run as finished.

    Args:
        job: Its training is over.
        earlier: Seconds that attempts before this one took.
    """
    job.method.load_state_dict(load_checkpoint(job.run.best).method)
    deployed = job.method.deploy()
    networks = _students(deployed, job)
    if networks:
        # All is judged where it was trained; deploying brings networks, and what they share, to
        # the CPU.
        found, unified = _judge(job, networks), _unified(job, networks)
        _judge_teacher(job)
        # Beside experts lies the backbone that they share: what starts elsewhere starts from that.
        one_network = SHARED not in deployed and _share_encoder(networks.values())
        # First, for what experts cost unfolded is counted on it.
        _deploy_features(job, {name: deployed[name] for name in deployed if name == SHARED})
        _ship(job, networks, found, one_network=one_network)
        _write_measured(job, found, unified)
    else:
        _deploy_features(job, deployed)
    conclude(job.run, job.console, seconds=earlier + time.time() - job.started)


def _students(deployed: Mapping[str, nn.Module], job: Job) -> dict[str, Student]:
    """What is deployed, by task; none for a training without labels."""
    students = {}
    for name, network in by_task(deployed, [one.dataset for one in job.opened]).items():
        assert isinstance(network, Student), "a task deploys a network with its head"
        students[name] = network
    return students


def _judge(job: Job, networks: Mapping[str, Student]) -> dict[str, Judged]:
    """What each task's network says of its validation and test images."""
    by_name = {one.dataset.task.name: one for one in job.opened}
    return {
        name: judge_network(network, by_name[name], job.recipe, job.device)
        for name, network in networks.items()
    }


def _ship(
    job: Job, networks: Mapping[str, Student], found: Mapping[str, Judged], *, one_network: bool
) -> None:
    """Deploy each network with all that was measured of it; `one_network` serves any start."""
    by_name = {one.dataset.task.name: one for one in job.opened}
    regions = {name: by_name[name].dataset.task.region for name in networks}
    extra = {**_provenance(job), "shared_encoder": one_network}
    for name, network in networks.items():
        one = by_name[name]
        alike = [other for label, other in networks.items() if regions[label] == regions[name]]
        region = regions[name] if _share_encoder(alike) else None
        config = deploy(network, found[name], one, job.run, {**extra, "region": region})
        job.console.say(f"{name}: {export_task(job.run, config, network, one)}")
    encoder = job.foundation.encoder if job.foundation else None
    save_costs(next(iter(networks.values())), encoder, job.recipe.data.size, job.run)


def _unified(job: Job, networks: Mapping[str, Student]) -> dict[str, dict[str, Estimate]]:
    """What each task's test images are called where the classes of all tasks compete."""
    if not job.method.one_head or len(networks) < 2:
        return {}
    draws = job.recipe.evaluation.draws
    asked = [one for one in job.opened if one.dataset.task.name in networks]
    return {
        one.dataset.task.name: unified_metrics(networks, one, draws=draws, device=job.device)
        for one in asked
        if len(one.dataset.splits["test"])
    }


def _write_measured(
    job: Job, found: Mapping[str, Judged], unified: Mapping[str, dict[str, Estimate]]
) -> None:
    """Metrics and predictions of all tasks, and the worst mistakes as images."""
    draws = job.recipe.evaluation.draws
    metrics = merge((name, one.metrics(draws)) for name, one in found.items())
    for name, more in unified.items():
        metrics["test"][name] |= more
    write_metrics(job.run.metrics, metrics)
    tables = [table for one in found.values() for table in one.tables.values()]
    write_predictions(job.run.predictions, tables)
    _save_mistakes(job, [table for table in tables if table.split == "test"])


def _save_mistakes(job: Job, tables: Sequence[PredictionTable]) -> None:
    tested = {table.task: table for table in tables}
    opened = [one for one in job.opened if one.dataset.task.name in tested]
    save_worst([tested[one.dataset.task.name] for one in opened], opened, job.run)


def _share_encoder(networks: Iterable[nn.Module]) -> bool:
    """Whether all are heads on one encoder: then any of them starts another run."""
    return len({id(getattr(network, "encoder", network)) for network in networks}) == 1


def _judge_teacher(job: Job) -> None:
    """Metrics of the teacher's probe on the very same images."""
    if job.teaching is None or job.teaching.probe is None:
        return
    (one,) = job.opened
    predictions = {
        split: job.teaching.predict(batches(one, split), job.device)
        for split in ("validation", "test")
        if len(one.dataset.splits[split])
    }
    metrics = judged(predictions, one, job.recipe).metrics(job.recipe.evaluation.draws)
    write_metrics(job.run.teacher_metrics, merge([(one.dataset.task.name, metrics)]))


def _deploy_features(job: Job, deployed: Mapping[str, nn.Module]) -> None:
    """Write networks without classes: the starts of other students.

    They are all that remains of a training without labels, and the backbone that experts share.
    """
    for name, network in deployed.items():
        assert isinstance(network, Student)
        config = {"task": name, "classes": [], "size": job.recipe.data.size, **_provenance(job)}
        save_deployed(network.cpu().eval(), job.run.deployed(name).path, config)


def _provenance(job: Job) -> dict[str, Any]:
    return {"licences": inherited_licences(job.recipe), "method": job.recipe.method["name"]}
