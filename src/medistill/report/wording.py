"""Plain words for metrics, and numbers with as many digits as they deserve."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Final

from medistill.results import Estimate

Number = float | int  # JSON writes 1 where 1.0 was meant
UNDEFINED: Final = "\N{EN DASH}"
MINUS: Final = "\N{MINUS SIGN}"
PREFIXES: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True)
class Metric:
    """How a metric is spoken of.

    Args:
        words: Its name.
        percent: Whether it is a share of samples, and so printed in per cent.
        lower: Whether less of it is better.
        hint: What it tells, for who has not met it.
        unit: What it is measured in, if it is no bare number.
    """

    words: str
    percent: bool = True
    lower: bool = False
    hint: str = ""
    unit: str = ""


METRICS: Final = {
    "accuracy": Metric("Accuracy", hint="share of images called right"),
    "balanced_accuracy": Metric("Balanced accuracy", hint="mean of the classes' sensitivities"),
    "unified_accuracy": Metric(
        "Accuracy among the classes of all tasks", hint="naming another task's class is wrong"
    ),
    "unified_balanced_accuracy": Metric("Balanced accuracy among the classes of all tasks"),
    "macro_f1": Metric("Macro F1", percent=False, hint="mean over classes"),
    "auroc": Metric("AUROC", percent=False, hint="area under the ROC curve; 0.5 is chance"),
    "average_precision": Metric(
        "Average precision", percent=False, hint="area under precision and sensitivity"
    ),
    "sensitivity": Metric("Sensitivity"),
    "specificity": Metric("Specificity"),
    "sensitivity_at_threshold": Metric("Sensitivity at the threshold"),
    "specificity_at_threshold": Metric("Specificity at the threshold"),
    "expected_calibration_error": Metric(
        "Calibration error", False, True, "stated against observed shares"
    ),
    "negative_log_likelihood": Metric("Log loss", False, True, "mean surprise at the truth"),
    "brier": Metric("Brier score", False, True, "mean squared error"),
    "dice": Metric("DSC", percent=False, hint="Dice: overlap of prediction and truth"),
    "surface_dice": Metric(
        "NSD", percent=False, hint="surface Dice: share of both surfaces that lie close"
    ),
    "hd95_mm": Metric(
        "HD95", False, True, "95th percentile of the distance between surfaces", "mm"
    ),
}


def metric(key: str) -> Metric:
    """How a key of `metrics.json` is spoken of, one that nobody foresaw included."""
    name, slash, of = key.partition("/")
    if slash:
        known = METRICS.get(name) or Metric(_spaced(name))
        return replace(known, words=f"{known.words}, {of}", hint="")
    return METRICS.get(key) or Metric(_spaced(name), percent=False)


def inside(key: str) -> str:
    """A metric's name within a sentence: balanced accuracy, but AUROC."""
    words = metric(key).words
    return words if words.split()[0].isupper() else words[:1].lower() + words[1:]


def value_of(key: str, value: Number | None) -> str:
    """A metric's value: 74.9 %, 0.823 or 4.31 mm."""
    if value is None:
        return UNDEFINED
    number, unit = _measured(key, value)
    return f"{number} {unit}".rstrip()


def interval_of(key: str, estimate: Estimate | None) -> str:
    """A metric's 95 % interval, without its unit; empty where there is none."""
    low, high = (estimate["low"], estimate["high"]) if estimate else (None, None)
    if low is None or high is None:
        return ""
    return f"{_measured(key, low)[0]} to {_measured(key, high)[0]}"


def said(key: str, estimate: Estimate | None) -> str:
    """Value and interval in one: 74.9 % (68.5 to 80.8)."""
    if estimate is None:
        return UNDEFINED
    interval = interval_of(key, estimate)
    value = value_of(key, estimate["value"])
    return f"{value} ({interval})" if interval else value


def difference_of(key: str, value: Number | None) -> str:
    """A difference with its sign: +3.4 points, −0.031 or +0.40 mm."""
    if value is None:
        return UNDEFINED
    if metric(key).percent:
        return f"{_signed(value * 100, 1)} points"
    unit = metric(key).unit
    return f"{_signed(value, 2 if unit else 3)} {unit}".rstrip()


def difference_interval(key: str, low: Number | None, high: Number | None) -> str:
    """The interval of a difference, with signs."""
    if low is None or high is None:
        return UNDEFINED
    ends = (difference_of(key, end).partition(" ")[0] for end in (low, high))
    return " to ".join(ends)


def probability_of_chance(p: Number | None) -> str:
    """A p-value: 0.14, or < 0.001 where more digits would mean nothing."""
    if p is None:
        return UNDEFINED
    return "< 0.001" if p < 0.001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def chance_is(p: Number | None) -> str:
    """A p-value with its sign, for a sentence: p = 0.14, or p < 0.001."""
    told = probability_of_chance(p)
    return f"p {told}" if told.startswith("<") else f"p = {told}"


def significant(value: Number) -> str:
    """Three digits that count, without an exponent: 1.26, 0.0145, 12,300."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if value == 0:
        return "0"
    digits, shift = f"{value:.2e}".split("e")
    return f"{float(digits) * 10 ** int(shift):.{max(0, 2 - int(shift))}f}"


def amount(value: Number | None, unit: str = "") -> str:
    """A quantity with a prefix and its unit: 1.26 M, 145 MB, 4.31 ms."""
    if value is None:
        return UNDEFINED
    # Milliseconds carry their prefix already.
    scale, prefix = next(
        (pair for pair in PREFIXES if abs(value) >= pair[0] and unit != "ms"), (1.0, "")
    )
    return f"{significant(value / scale)} {prefix}{unit}".rstrip()


def duration(seconds: Number) -> str:
    """A time as people say it: 41 s, 12 min, 2 h 05 min."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def counted(number: int, noun: str) -> str:
    """How many of something: 1 image, 12,300 images, 2 patches, 12 epochs."""
    hissing = noun.endswith("ch") and not noun.endswith("epoch")
    ending = "" if number == 1 else "es" if hissing else "s"
    return f"{number:,} {noun}{ending}"


def listed(names: Iterable[str]) -> str:
    """Names in a sentence: a, b and c."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def network(name: str) -> str:
    """A network's name in a recipe, without its library or the folders that led to it."""
    _, colon, path = name.partition(":")
    return PurePath(path.rstrip("/")).name if colon else name.rpartition("/")[2]


def spoken(name: str) -> str:
    """The name of a method, loss term or split, in words."""
    return name.replace("_", " ")


def _measured(key: str, value: Number) -> tuple[str, str]:
    """A value's digits and its unit."""
    about = metric(key)
    if about.percent:
        return f"{100 * value:.1f}", "%"
    return f"{value:.{2 if about.unit else 3}f}", about.unit


def _spaced(name: str) -> str:
    return spoken(name).capitalize()


def _signed(value: Number, digits: int) -> str:
    text = f"{value:+.{digits}f}"
    if float(text) == 0:
        return text[1:]
    return text.replace("-", MINUS)
