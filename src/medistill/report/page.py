"""One page that shows all of a run, and needs nothing beside it."""

from collections.abc import Sequence
from pathlib import Path

from medistill.report.against import results
from medistill.report.answers import by_class, by_threshold, mistakes
from medistill.report.evidence import Evidence
from medistill.report.headline import headline
from medistill.report.insight import insight
from medistill.report.making import cost, data, learning, record
from medistill.report.markup import Html, element, together
from medistill.report.style import STYLE
from medistill.report.volumes import sections as outlined
from medistill.results import RunFolder, write_text

# Whatever a file of the run might say, a browser loads nothing and runs nothing from this page.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
FOOTER = (
    "Not a medical device. Nothing here has been cleared for diagnosis, for treatment or for the "
    "triage of patients. Intervals tell what another draw of images from the same source would "
    "change; other scanners, hospitals and populations may change more."
)


def write_page(
    run: RunFolder, against: Sequence[RunFolder] = (), *, analysed: Path | None = None
) -> Path:
    """Write a run's `report.html` from the files that the run has so far.

    Args:
        run: The run that the page is about; what its folder does not hold is left out.
        against: Other runs, to be compared with on the same images.
        analysed: A folder elsewhere that holds an analysis of the run: the page goes there, and
            the run is left as it is.

    Raises:
        UserError: A file is there, and cannot be read.
    """
    path = analysed / run.report.name if analysed else run.report
    write_text(path, page(Evidence(run, analysed), [Evidence(other) for other in against]))
    return path


def page(evidence: Evidence, others: Sequence[Evidence] = ()) -> str:
    """The page as one string of HTML."""
    body = [
        headline(evidence),
        *(section for section in _sections(evidence, others) if section),
        element("footer", element("p", FOOTER)),
    ]
    return document(evidence.name, body)


def document(title: str, body: Sequence[Html]) -> str:
    """A whole page that loads nothing and runs nothing."""
    head = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        element("title", f"{title} · medistill"),
        element("style", STYLE),
    ]
    html = element(
        "html", element("head", *head), element("body", element("main", *body)), lang="en"
    )
    return f"<!doctype html>\n{html}\n"


def _sections(evidence: Evidence, others: Sequence[Evidence]) -> list[Html]:
    tasks = [
        _task(evidence, others, task, place) for place, task in enumerate(evidence.tasks, start=1)
    ]
    rest = [insight(evidence), learning(evidence), cost(evidence), record(evidence)]
    return [*tasks, *(element("section", *parts) for parts in rest if parts)]


def _task(evidence: Evidence, others: Sequence[Evidence], task: str, place: int) -> Html:
    answers = _outlines if evidence.segments(task) else _answers
    parts = [
        *results(evidence, others, task),
        *answers(evidence, others, task),
        *data(evidence, task),
    ]
    title = element("h2", task)
    return element("section", title, *parts, id=f"task-{place}") if parts else together([])


def _answers(evidence: Evidence, others: Sequence[Evidence], task: str) -> list[Html]:
    """Of a classification."""
    return [
        *by_class(evidence, others, task),
        *by_threshold(evidence, others, task),
        *mistakes(evidence, task),
    ]


def _outlines(evidence: Evidence, others: Sequence[Evidence], task: str) -> list[Html]:
    """Of a segmentation."""
    return [
        *outlined.by_class(evidence, others, task),
        *outlined.by_case(evidence, task),
        *outlined.slices(evidence, task),
        *outlined.volumes(evidence, task),
    ]
