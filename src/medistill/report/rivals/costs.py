"""What networks cost a hospital, and what their training costs whoever makes them."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean

from medistill.report.rivals.account import ALONE, Account
from medistill.report.rivals.tables import labels_of
from medistill.report.tables import Table
from medistill.report.wording import UNDEFINED, Number, amount

FULL = ("full_fine_tuning", ALONE)  # of the foundation model itself
TIMES = "\N{MULTIPLICATION SIGN}"
ONE_NETWORK = (
    "Networks of equal parameters, work and size are one network: its latency is the median over "
    "all runs of the comparison."
)


# Key, unit, heading and caption of how long an answer takes.
LATENCY = {
    "images": (
        "latency_ms_p50", "ms", "latency an image",
        "Latency in ONNX Runtime, one image at a time,",
    ),
    "volumes": (
        "seconds_a_volume", "s", "time a volume",
        "Work of one patch; time of a whole volume, half of each patch covered again,",
    ),
}  # fmt: skip


def cost_table(account: Account) -> Table | None:
    """Size, work and latency of foundation models and students, as in the paper's Table 6."""
    networks: dict[str, Mapping[str, Number | None]] = {}
    for one in account.standings:
        if one.teacher and one.teacher_cost:
            networks[one.teacher] = one.teacher_cost
    for one in account.standings:
        for row in one.students[:1]:
            networks[one.student] = row.cost
    key, unit, words, told = LATENCY[account.samples]
    caption = f"{told} on {account.machine}. {ONE_NETWORK}"
    rows = [
        [name, amount(cost.get("parameters")), amount(cost.get("macs")),
         amount(cost.get("bytes"), "B"), amount(cost.get(key), unit)]
        for name, cost in networks.items()
    ]  # fmt: skip
    head = ["", "parameters", "multiply-accumulates", "weights", words]
    return Table(head, rows, caption) if rows else None


def training_table(account: Account) -> Table | None:
    """What a step of each method takes, and how much memory its training needs."""
    students = list(dict.fromkeys(one.student for one in account.whole))
    against = _yardstick(account)
    rows = [
        [label, *taken]
        for label in labels_of(account)
        if (taken := _measured(account, label, against, students))
    ]
    caption = (
        "Median time of a training step, teacher included, and the most memory of "
        f"{account.peak_of} while it trained, on {account.machine}; also as multiples of {against}"
        f"{_explained(account)}."
    )
    return Table(["", *_heads(students, against)], rows, caption) if rows else None


def _heads(students: Sequence[str], against: str) -> list[str]:
    """Of the columns beside a method; they name the student where there are several."""
    kinds = ("a step", f"times {against}", "memory", f"times {against}")
    return [f"{kind}, {name}" if len(students) > 1 else kind for name in students for kind in kinds]


def _measured(account: Account, label: str, against: str, students: Sequence[str]) -> list[str]:
    """What a method takes with each student; nothing where nobody measured it."""
    told = [text for student in students for text in _taken(account, label, against, student)]
    return [text or UNDEFINED for text in told] if any(told) else []


def _yardstick(account: Account) -> str:
    """Label of full fine-tuning of the foundation model; where that did not run, the student's."""
    return next(_tuned(account), account.labels[account.reference])


def _tuned(account: Account) -> Iterator[str]:
    return (row.label for _, row in account.rows() if not row.student and row.method in FULL)


def _explained(account: Account) -> str:
    """What the yardstick is, or why it is the student."""
    if any(_tuned(account)):
        return ", full fine-tuning of the foundation model"
    taught = any(one.teacher for one in account.standings)
    return ", for no full fine-tuning of the foundation model competed" if taught else ""


def _taken(account: Account, label: str, against: str, student: str) -> list[str]:
    """Step and memory of a method, and both as multiples of another's; empty where unknown."""
    step, memory = _expense(account, label, student)
    other_step, other_memory = _expense(account, against, student)
    return [
        amount(1e3 * step, "ms") if step else "", _times(step, other_step),
        amount(memory, "B") if memory else "", _times(memory, other_memory),
    ]  # fmt: skip


def _expense(account: Account, label: str, student: str) -> tuple[Number | None, Number | None]:
    rows = [
        row
        for one in account.whole
        for row in one.rows
        if row.label == label and one.student == student
    ]
    steps = [row.step_seconds for row in rows if row.step_seconds]
    peaks = [row.peak_bytes for row in rows if row.peak_bytes]
    return mean(steps) if steps else None, mean(peaks) if peaks else None


def _times(own: Number | None, other: Number | None) -> str:
    return f"{own / other:.2f}{TIMES}" if own and other else ""
