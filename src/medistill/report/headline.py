"""The top of the page: what was made, how good it is, how small and how fast."""

from collections.abc import Sequence
from typing import Final

from medistill.report.averages import averaged, groups
from medistill.report.comparison import method_of, name_of_teacher
from medistill.report.evidence import Evidence
from medistill.report.markup import Html, element, number, together
from medistill.report.tables import Table
from medistill.report.wording import (
    UNDEFINED,
    amount,
    counted,
    interval_of,
    listed,
    metric,
    network,
    said,
    value_of,
)

KEYS: Final = ("accuracy", "balanced_accuracy", "auroc", "dice", "surface_dice", "hd95_mm")
NAMED = 5  # classes; of more only the number is said
ALIKE = 1.05  # a ratio up to this is none to speak of
WHOLE = 99.5  # from here two digits would need an exponent


def headline(evidence: Evidence) -> Html:
    """Title, lede, key figures, size and speed, and what the folder does not hold."""
    judged = [task for task in evidence.tasks if evidence.estimates(task)]
    figures = [_key_figures(evidence, judged[0])] if len(judged) == 1 else []
    summary = [_summary(evidence, judged).html("results")] if len(judged) > 1 else []
    sentences = [*_made(evidence), *_size_and_speed(evidence)]
    return element(
        "header",
        element("p", "medistill · report of a run", class_="kicker"),
        element("h1", evidence.name),
        *_stamp(evidence),
        element("p", together(sentences, " "), class_="lede"),
        *figures,
        *summary,
        *_regions(evidence),
        *_left_out(evidence),
    )


def student_of(evidence: Evidence) -> str:
    """Name of the student's network."""
    return network(evidence.part("student").get("name", ""))


def teacher_of(evidence: Evidence) -> str:
    """Name of the teacher; empty where there was none."""
    # A recipe may name a teacher that its method never asks: the environment knows who taught.
    known = evidence.environment.get("teacher", evidence.part("teacher")) or {}
    return network(known.get("name") or "")


def _stamp(evidence: Evidence) -> list[Html]:
    teacher, part = evidence.environment.get("teacher") or {}, evidence.part("teacher")
    if not teacher.get("random", part.get("weights") == "random"):
        return []
    return [element("p", "The teacher had random weights: it had learned nothing.", class_="stamp")]


def _made(evidence: Evidence) -> list[Html]:
    student, teacher, method = student_of(evidence), teacher_of(evidence), method_of(evidence)
    what = element("strong", student) if student else "A student"
    taught = [", taught by ", element("strong", teacher)] if teacher else [", without a teacher"]
    how = [f" ({method})"] if method else []
    parts = [what, *_purpose(evidence), *(taught if evidence.recipe else []), *how, "."]
    return [together(parts)]


def _purpose(evidence: Evidence) -> list[str]:
    tasks = evidence.tasks
    if not tasks:
        return []
    if evidence.data and not any(evidence.classes(task) for task in tasks):
        return [", trained without labels on ", listed(tasks)]
    if _outlines(evidence):
        return [" for ", listed(tasks), ": outlining ", _named(_classes(evidence, tasks))]
    if len(tasks) > 1:
        return [" for ", counted(len(tasks), "task"), ": ", listed(tasks)]
    classes = evidence.classes(tasks[0])
    if len(classes) < 2:
        return [" for ", tasks[0]]
    apart = "from one another" if len(classes) > 2 else "apart"
    return [f" for {tasks[0]}: telling {_named(classes)} {apart}"]


def _outlines(evidence: Evidence) -> bool:
    return any(evidence.segments(task) for task in evidence.tasks)


def _classes(evidence: Evidence, tasks: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name for task in tasks for name in evidence.classes(task)))


def _named(classes: Sequence[str]) -> str:
    return listed(classes) if 0 < len(classes) <= NAMED else f"{len(classes)} classes"


def images_of(evidence: Evidence, task: str) -> int:
    """How many images, or volumes, a task was judged on."""
    table, account = evidence.table(task), evidence.data.get(task, {})
    if table is not None:
        return len(table)
    if evidence.segments(task):
        return len(evidence.cases(task)) or account.get("volumes", {}).get(evidence.split, 0)
    return sum(account.get("counts", {}).get(evidence.split, {}).values())


def _size_and_speed(evidence: Evidence) -> list[Html]:
    own, ratios = evidence.cost.get("student") or {}, evidence.cost.get("ratios") or {}
    told = []
    if own.get("parameters") is not None:
        held = together(["It holds ", number(amount(own["parameters"])), " parameters"])
        told.append(together([held, *_against(ratios.get("parameters"), "fewer", "more")]))
    # A volume is answered in many patches: the time of one would say little.
    key, unit = ("seconds_a_volume", "s") if _outlines(evidence) else ("latency_ms_p50", "ms")
    if own.get(key) is not None:
        time = number(amount(own[key], unit))
        what = " a volume" if unit == "s" else ""
        start = f"and answers{what}" if told else f"It answers{what}"
        ratio = _against(ratios.get(key), "faster", "slower")
        told.append(together([f"{start} in ", time, " on a CPU", *ratio]))
    return [together([together(told, " "), "."])] if told else []


def _against(ratio: float | int | None, less: str, more: str) -> list[Html]:
    """A ratio to the teacher in words: (9.4 times fewer than the teacher)."""
    if not ratio:
        return []
    # "0.24 times as many" is harder to see than "4.1 times fewer".
    times, word = (1 / ratio, less) if ratio < 1 else (ratio, more)
    if times <= ALIKE:
        return [together([" (about as the teacher)"])]
    digits = f"{times:.2g}" if times < WHOLE else f"{times:,.0f}"
    return [together([" (", number(f"{digits} times"), f" {word} than the teacher)"])]


def _key_figures(evidence: Evidence, task: str) -> Html:
    estimates = evidence.estimates(task)
    teacher = evidence.teacher_metrics.get(evidence.split, {}).get(task, {})
    items = []
    for key in (key for key in KEYS if key in estimates):
        interval, probed = interval_of(key, estimates[key]), teacher.get(key)
        beside = [f"{interval}"] if interval else []
        beside += [f"{name_of_teacher(teacher)} {value_of(key, probed['value'])}"] if probed else []
        large = element("dd", value_of(key, estimates[key]["value"]), class_="large")
        under = [element("dd", text) for text in beside]
        items.append(element("div", element("dt", metric(key).words), large, *under))
    images = images_of(evidence, task)
    noun = "case" if evidence.segments(task) else "image"
    on = counted(images, f"{evidence.split} {noun}") if images else f"the {evidence.split} split"
    told = f"On {on}; beneath each value its 95 % interval."
    return together([element("dl", *items, class_="key"), element("p", told, class_="quiet")])


def _summary(evidence: Evidence, judged: Sequence[str]) -> Table:
    shown = [key for key in KEYS if any(key in evidence.estimates(task) for task in judged)]
    rows = []
    for place, task in enumerate(evidence.tasks, start=1):
        if task in judged:
            images, estimates = images_of(evidence, task), evidence.estimates(task)
            link = element("a", task, href=f"#task-{place}")
            cells = (number(said(key, estimates.get(key))) for key in shown)
            rows.append([link, f"{images:,}" if images else UNDEFINED, *cells])
    rows += [_mean_row(evidence, words, tasks, shown) for words, tasks in groups(evidence).items()]
    noun = "Cases" if _outlines(evidence) else "Images"
    head = ["Task", f"{noun} ({evidence.split})", *(metric(key).words for key in shown)]
    told = "Each task with its 95 % intervals; in a mean every task counts alike."
    return Table(head, rows, told)


def _regions(evidence: Evidence) -> list[Html]:
    """Regions, where one of them has several tasks: else the tasks above say the same."""
    found = evidence.regions.get(evidence.split, {})
    if not len(found) - 1 < len(evidence.tasks) or not found:
        return []
    shown = [key for key in KEYS if any(key in estimates for estimates in found.values())]
    rows = [
        ["mean of all regions" if name == "all" else name,
         *(number(said(key, estimates.get(key))) for key in shown)]
        for name, estimates in found.items()
    ]  # fmt: skip
    told = (
        "By region: the mean over the tasks that share a class, then over the classes, then over "
        "the regions; each counts alike."
    )
    return [Table(["Region", *(metric(key).words for key in shown)], rows, told).html("results")]


def _mean_row(
    evidence: Evidence, words: str, tasks: Sequence[str], shown: Sequence[str]
) -> list[str]:
    means = averaged([evidence.estimates(task) for task in tasks], shown)
    images = sum(images_of(evidence, task) for task in tasks)
    cells = (number(said(key, means.get(key))) for key in shown)
    return [words, f"{images:,}" if images else UNDEFINED, *cells]


def _left_out(evidence: Evidence) -> list[Html]:
    missing = evidence.missing
    if not missing:
        return []
    start = "" if evidence.metrics else "The run was interrupted, or has nothing to be judged by. "
    return [element("p", f"{start}Not in the folder: {listed(missing)}.", class_="quiet")]
