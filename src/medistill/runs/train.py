"""`train`: from a recipe to a judged, exported, documented student."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from medistill.assemble import (
    Foundation,
    build_foundation,
    build_method,
    build_student,
    check_collaborators,
    is_features,
    method_settings,
    takes,
    views,
)
from medistill.data.opening import Opened
from medistill.errors import UserError
from medistill.export.card import write_card
from medistill.methods.base import Method
from medistill.models.networks import Student
from medistill.recipe import Recipe, dump
from medistill.results import (
    RunFolder,
    read_json,
    write_json,
    write_metrics,
    write_predictions,
    write_text,
)
from medistill.runs.ancestry import save_sources, warn_of_shared_images
from medistill.runs.console import Console
from medistill.runs.environment import environment
from medistill.runs.export import export_task
from medistill.runs.images import open_images, refuse_or_warn
from medistill.runs.learning import Learning, by_task
from medistill.runs.report import report
from medistill.runs.shipping import (
    batches,
    deploy,
    judge_network,
    judged,
    merge,
    save_costs,
    save_worst,
)
from medistill.runs.teaching import Classroom, Teaching
from medistill.training.checkpoint import load_checkpoint
from medistill.training.devices import choose_device
from medistill.training.distributed import barrier, main_process, process_group


def train(
    recipe: Recipe,
    out: Path | str,
    *,
    resume: bool = False,
    console: Console | None = None,
) -> RunFolder:
    """Train a student, judge it, export it, and describe it.

    Args:
        recipe: Everything that decides the run.
        out: Its folder; a finished run of the same recipe is left as it is.
        resume: Go on where an unfinished run stopped.
        console: Where to say what happens.

    Returns:
        The run's folder.

    Raises:
        UserError: Something is wrong with the recipe, the data or the folder.
    """
    run = RunFolder(Path(out))
    if not _has_work(recipe, run, resume):
        (console or Console()).say(f"{run.path} is finished: nothing to do.")
        return run
    device = choose_device(recipe.training.device)
    if recipe.training.threads:
        torch.set_num_threads(recipe.training.threads)
    with process_group(device):
        console = console or Console(quiet=not main_process())
        with _main_process_first():
            job = _prepare(recipe, run, device, console)
        job.learning.learn()
        if main_process():
            _finish(job)
        barrier()
    return run


@dataclass(frozen=True)
class Job:
    """A run between its preparation and its end."""

    recipe: Recipe
    run: RunFolder
    console: Console
    device: torch.device
    opened: Sequence[Opened]
    foundation: Foundation | None
    teaching: Teaching | None
    method: Method
    learning: Learning
    started: float


def _has_work(recipe: Recipe, run: RunFolder, resume: bool) -> bool:
    """Whether there is anything to train; a run of another recipe is never touched.

    Raises:
        UserError: The folder holds another recipe's run, or an unfinished one.
    """
    if not run.recipe.exists():
        return True
    other = _difference(yaml.safe_load(run.recipe.read_text("utf-8")), yaml.safe_load(dump(recipe)))
    if other:
        raise UserError(
            f"{run.path} holds a run of another recipe ({other}). Choose another --out."
        )
    if not run.finished and not resume:
        raise UserError(f"{run.path} holds an unfinished run: add --resume to go on with it.")
    return not run.finished


def _difference(there: Any, here: Any, path: str = "") -> str:
    """The first place at which two recipes differ; empty when they do not."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in [*there, *(key for key in here if key not in there)]:
            place = f"{path}.{key}" if path else str(key)
            found = _difference(there.get(key), here.get(key), place)
            if found:
                return found
        return ""
    return "" if there == here else f"{path}: {there} there, {here} here"


def _prepare(recipe: Recipe, run: RunFolder, device: torch.device, console: Console) -> Job:
    """Everything before the first step; what can be wrong is found before anything takes long."""
    started = time.time()
    check_collaborators(recipe, list(recipe.data.roots), console.say)
    method_settings(recipe)
    views(recipe)
    source = recipe.teacher if takes(recipe, "teacher") else None
    named = source is not None and not is_features(source)
    foundation = build_foundation(source, size=recipe.data.size) if source and named else None
    torch.manual_seed(recipe.training.seed)
    student = build_student(recipe, classes=2)
    opened = open_images(recipe, run, console)
    refuse_or_warn(opened, recipe, console)
    warnings = warn_of_shared_images(recipe, opened, console)
    if main_process():
        _record(recipe, run, opened, foundation, warnings)
    teaching = None
    if source is not None:
        teaching = Classroom(recipe, source, opened, device, console).teach(foundation, run)
    tasks = [one.dataset.task for one in opened]
    # Seeded anew, so that a student starts alike whatever its teacher drew.
    torch.manual_seed(recipe.training.seed)
    student = student.with_classes(max(1, len(tasks[0].classes)))
    teacher = teaching.teacher if teaching else None
    method = build_method(recipe, student=student, teacher=teacher, tasks=tasks)
    learning = Learning(
        recipe, run, console, device, [one.dataset for one in opened],
        [one.digests for one in opened], method,
    )  # fmt: skip
    return Job(
        recipe, run, console, device, opened, foundation, teaching, method, learning, started
    )


def _record(
    recipe: Recipe,
    run: RunFolder,
    opened: Sequence[Opened],
    foundation: Foundation | None,
    warnings: Sequence[str],
) -> None:
    """Write what is known before the training; the recipe last, for it makes a folder a run."""
    run.path.mkdir(parents=True, exist_ok=True)
    save_sources(opened, run)
    for one in opened:
        one.save_splits(run.splits)
    write_json(run.data, {one.dataset.task.name: _described(one, warnings) for one in opened})
    facts = environment()
    facts["data"] = {one.dataset.task.name: one.dataset.store.key for one in opened}
    facts["teacher"] = None
    if foundation is not None:
        facts["teacher"] = {
            "name": foundation.name, "licence": foundation.licence, "random": foundation.random,
        }  # fmt: skip
        facts["weights"] = {"teacher": foundation.sha256}
    write_json(run.environment, facts)
    write_text(run.recipe, dump(recipe))


def _described(one: Opened, warnings: Sequence[str]) -> dict[str, Any]:
    """What a report says of a data set: counts and findings, never a file."""
    classes = one.dataset.task.classes
    counts = {
        split: {
            classes[t]: n for t, n in Counter(one.dataset.targets[rows].tolist()).items() if t >= 0
        }
        for split, rows in one.dataset.splits.items()
    }
    findings = [
        {"severity": f.severity, "kind": f.kind, "message": f.message} for f in one.findings
    ]
    findings += [{"severity": "warning", "kind": "shared", "message": said} for said in warnings]
    return {"classes": classes, "how": one.how, "counts": counts, "findings": findings}


def _finish(job: Job) -> None:
    """From the chosen checkpoint to everything that a run leaves."""
    job.method.load_state_dict(load_checkpoint(job.run.best).method)
    networks = by_task(job.method, [one.dataset for one in job.opened])
    by_name = {one.dataset.task.name: one for one in job.opened}
    if not networks:
        _deploy_features(job)
    found = {}
    for name, network in networks.items():
        assert isinstance(network, Student)
        one = by_name[name]
        found[name] = judge_network(network, one, job.recipe, job.device)
        extra = {**_provenance(job), "shared_encoder": _share_encoder(networks.values())}
        config = deploy(network, found[name], one, job.run, extra)
        job.console.say(f"{name}: {export_task(job.run, config, network, one)}")
    if found:
        draws = job.recipe.evaluation.draws
        metrics = merge((name, one.metrics(draws)) for name, one in found.items())
        write_metrics(job.run.metrics, metrics)
        tables = [table for one in found.values() for table in one.tables.values()]
        write_predictions(job.run.predictions, tables)
        tested = [one.tables["test"] for one in found.values() if "test" in one.tables]
        save_worst(tested, [by_name[table.task] for table in tested], job.run)
        _judge_teacher(job)
        encoder = job.foundation.encoder if job.foundation else None
        student = next(iter(networks.values()))
        assert isinstance(student, Student)
        save_costs(student, encoder, job.recipe.data.size, job.run)
    facts = read_json(job.run.environment)
    write_json(job.run.environment, {**facts, "seconds": round(time.time() - job.started, 1)})
    write_card(job.run)
    job.run.finish()
    report(job.run.path, console=job.console)


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


def _deploy_features(job: Job) -> None:
    """Of a training without labels an encoder remains: the start of other students."""
    from medistill.models.deployed import save_deployed

    for name, network in job.method.deploy().items():
        assert isinstance(network, Student)
        width = network.head.out_features
        config = {
            "task": name, "classes": [str(i) for i in range(width)],
            "size": job.recipe.data.size, **_provenance(job),
        }  # fmt: skip
        save_deployed(network.cpu().eval(), job.run.deployed(name).path, config)


def _provenance(job: Job) -> dict[str, Any]:
    licence = job.foundation.licence if job.foundation else None
    return {"licences": [licence] if licence else [], "method": job.recipe.method["name"]}


@contextmanager
def _main_process_first() -> Iterator[None]:
    """Inside, the first process is alone; the others come when its stores and caches are there."""
    if not main_process():
        barrier()
    yield
    if main_process():
        barrier()
