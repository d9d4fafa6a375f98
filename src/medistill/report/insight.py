"""Why the student says what it says: boundaries, features and evidence, as `analyze` found them."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from medistill.report.evidence import Document, Evidence
from medistill.report.experts import costs, experts_of, gaps, said_of_similarity
from medistill.report.markup import Html, element, figure, number, together
from medistill.report.regions import hues, plane
from medistill.report.tables import Table
from medistill.report.wording import counted, listed


def insight(evidence: Evidence) -> list[Html]:
    """The section of an analysis; nothing where there was none."""
    parts = [*_task(evidence), *_experts(evidence)]
    return [element("h2", "Seeing why"), *parts] if parts else []


def _task(evidence: Evidence) -> list[Html]:
    """Of one task: where networks looked, how they divide the classes, how alike they see."""
    found = evidence.analysis
    if not found:
        return []
    told = f"The networks as deployed, on the {found['split']} images of {found['task']}."
    return [
        element("p", told, class_="quiet"),
        *_overlays(evidence.analysis_folder / "overlays", found.get("overlays")),
        *_boundaries(found.get("boundaries"), found["classes"]),
        *_similarity(found.get("similarity")),
    ]


def _experts(evidence: Evidence) -> list[Html]:
    """Of several tasks: what their networks have in common, and what each knows."""
    found = experts_of(evidence)
    if not found:
        return []
    told = (
        f"The networks of {listed(found['tasks'])} as deployed, on their {found['split']} images."
    )
    folder = evidence.analysis_folder / "experts"
    pictures = [
        part
        for place, (task, drawn) in enumerate(found["overlays"].items())
        for part in _overlays(folder / str(place + 1), drawn, task)
    ]
    return [
        element("p", told, class_="quiet"),
        element("h3", "How alike the experts are"),
        element("p", said_of_similarity(found), class_="quiet"),
        *(
            element("div", *_pair(panel, found["tasks"]), class_="pair")
            for panel in found["panels"]
        ),
        *gaps(found),
        *pictures,
        *costs(found),
    ]


def _pair(panel: Document, tasks: Sequence[str]) -> list[Html]:
    """Both matrices of a run; the first alone where its networks have no dimensions in common."""
    name, told = panel["name"], panel["covariance"]
    alike = _matrix(tasks, tasks, panel["cka"], f"{name}: CKA on the same images.")
    if told is None:
        return [alike]
    return [alike, _matrix(tasks, tasks, told, f"{name}: covariances, each on its own.")]


def _overlays(folder: Path, found: Document | None, task: str = "") -> list[Html]:
    # A run may come from elsewhere: a name that leads out of its folder fetches nothing.
    known = [
        image
        for image in (found or {}).get("images", [])
        if Path(image["file"]).name == image["file"] and (folder / image["file"]).is_file()
    ]
    if not found or not known:
        return []
    told = (
        "Each image, then the same under the evidence for the class that it was called, as "
        f"{listed(found['names'])} saw it (Grad-CAM). Bright is most; what speaks against the "
        "class is not shown. A map is as coarse as the network's last map."
    )
    pictures = (_overlay(folder / image["file"], image) for image in known)
    # Beside the image two networks fit into half of the page.
    columns = "wide" if len(found["names"]) <= 2 else "one"
    return [
        element("h3", f"Where it looked: {task}" if task else "Where it looked"),
        element("p", told, class_="quiet"),
        element("div", *pictures, class_=f"figures {columns}"),
    ]


def _overlay(file: Path, image: Mapping[str, str | float]) -> Html:
    called, target = str(image["called"]), str(image["target"])
    sure = f"{100 * float(image['probability']):.0f} %"
    right = called == target
    alt = f"Image of {target}, called {called} with a probability of {sure}, and where it looked."
    source = f"data:image/png;base64,{b64encode(file.read_bytes()).decode()}"
    said = [element("strong", called), " ", number(sure)]
    truth = ", rightly" if right else f"; truth: {target}"
    return figure(element("img", src=source, alt=alt), together(["called ", *said, truth]))


def _boundaries(found: Document | None, classes: Sequence[str]) -> list[Html]:
    if not found:
        return []
    many, names = found["planes"], found["names"]
    grid = f"{found['grid']} x {found['grid']}"
    told = (
        f"Each of {counted(many, 'plane')} goes through three {_kinds(classes)}, and every "
        f"network was asked about {grid} points of it. The score of two networks is the "
        "share of points that they call alike (Somepalli et al., CVPR 2022); by chance it would be "
        "that of two that call each class as often as these, but anywhere."
    )
    return [
        element("h3", "Decision boundaries"),
        element("p", told, class_="quiet"),
        *([_scores(found, names).html("figured")] if len(names) > 1 else []),
        *_planes(found, classes),
    ]


def _kinds(classes: Sequence[str]) -> str:
    return "images of distinct classes" if len(classes) > 2 else "images of both classes"


def _scores(found: Document, names: Sequence[str]) -> Table:
    rows = []
    for a, b in combinations(range(len(names)), 2):
        score = found["scores"][a][b]
        interval = f"{100 * score['low']:.1f} to {100 * score['high']:.1f}"
        value, chance = (number(f"{100 * score[key]:.1f} %") for key in ("value", "chance"))
        rows.append([f"{names[a]} and {names[b]}", value, number(interval), chance])
    head = ["networks", "called alike", "95 % interval", "by chance"]
    return Table(head, rows, "Reproducibility; the interval is that of another draw of planes.")


def _planes(found: Document, classes: Sequence[str]) -> list[Html]:
    """One plane as each network divides it."""
    drawn, known = found["plane"], hues(found["plane"], classes)
    pictures = [
        figure(
            plane(drawn, called, name, classes, known),
            together([element("strong", name), ": ", number(f"{regions:.1f}"), " regions a plane"]),
        )
        for name, called, regions in zip(
            found["names"], drawn["called"], found["regions"], strict=True
        )
    ]
    key = [
        element("span", name, class_=f"who series-{hue}")
        for name, hue in zip(classes, known, strict=True)
        if hue is not None
    ]
    rest = [" Grey: other classes."] if len(key) < len(classes) else []
    told = "One of the planes. Dots are its three images, in the colour of their class: "
    return [
        element("p", told, together(key, " "), ".", *rest, class_="quiet"),
        element("div", *pictures, class_="figures"),
    ]


def _similarity(found: Document | None) -> list[Html]:
    if not found or len(found["names"]) < 2:
        return []
    told = (
        f"Linear CKA on {counted(found['images'], 'image')}, without the bias of small samples: 1 "
        "for features that differ by a rotation and a scale alone, 0 for unrelated ones."
    )
    names = found["names"]
    tables = [_matrix(names, names, found["cka"], "Pooled features, as the heads take them.")]
    if found.get("scales"):
        tables.append(_maps(found["scales"]))
    return [
        element("h3", "Similarity of features"),
        element("p", told, class_="quiet"),
        element("div", *tables, class_="pair"),
    ]


def _maps(scales: Document) -> Html:
    rows, columns = (
        [f"map {place + 1}" for place in range(count)]
        for count in (len(scales["cka"]), len(scales["cka"][0]))
    )
    told = f"Maps of {scales['rows']} (rows) and of {scales['columns']}, averaged; 1 is finest."
    return _matrix(rows, columns, scales["cka"], told)


def _matrix(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]], caption: str
) -> Html:
    head = element(
        "tr", element("th", "", scope="col"), *(element("th", c, scope="col") for c in columns)
    )
    body = [
        element("tr", element("th", name, scope="row"), *map(_cell, some))
        for name, some in zip(rows, values, strict=True)
    ]
    matrix = element(
        "table",
        element("caption", element("span", caption)),
        element("thead", head),
        element("tbody", *body),
        class_="confusion",
    )
    return element("div", matrix, class_="scroll", tabindex=0)


def _cell(value: float) -> Html:
    # At most 60 % of the colour: the number must stay readable on it, day and night.
    share = 60 * min(1.0, max(0.0, value))
    return element("td", f"{value:.2f}", class_="right", style=f"--share:{share:.0f}%")
