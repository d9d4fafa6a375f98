"""Comparisons as `medistill compare` finds them, made up."""

from typing import Any

from medistill.report.rivals.account import Account, Against, Ranking, Row, Standing
from medistill.spreads import Spread

LABELS = {
    "student_alone": "student alone", "logit_distillation": "KD", "hint": "hint",
    "reprogramming_distillation": "RD", "rd-without-cka": "rd-without-cka",
    "lora": "lora", "lora+kd": "lora+kd",
}  # fmt: skip
MEANS = {
    "student_alone": 0.65, "logit_distillation": 0.66, "hint": 0.61,
    "reprogramming_distillation": 0.69, "rd-without-cka": 0.66, "lora": 0.78, "lora+kd": 0.67,
}  # fmt: skip
COST = {"parameters": 1_255_654, "macs": 38_200_000, "bytes": 5_146_000, "latency_ms_p50": 2.91}
LARGE = {"parameters": 11_200_000, "macs": 1_800_000_000, "bytes": 44_700_000,
         "latency_ms_p50": 14.2}  # fmt: skip
TEACHER = {"parameters": 85_800_000, "macs": 17_500_000_000, "bytes": 343_000_000,
           "latency_ms_p50": 101.0}  # fmt: skip
EVIL = '"><script>alert(1)</script>'


def spread(mean: float, sd: float | None = 0.015) -> Spread:
    return Spread(mean, sd, mean - 0.04, mean + 0.04, 3 if sd else 1)


def against(rival: str, value: float, p: float) -> Against:
    return Against(rival, value, value - 0.05, value + 0.05, p / 3, p, 0.02)


def row(entry: str, mean: float, **changes: Any) -> Row:
    varies = entry not in ("rd-without-cka", "lora+kd")
    facts: dict[str, Any] = {
        "entry": entry, "label": LABELS[entry],
        "method": {"rd-without-cka": "reprogramming_distillation",
                   "lora+kd": "logit_distillation"}.get(entry, entry),
        "student": entry != "lora", "after": "lora" if entry == "lora+kd" else None,
        "varies": not varies,
        "metrics": {"accuracy": spread(mean), "balanced_accuracy": spread(mean - 0.01),
                    "auroc": spread(mean + 0.08), "expected_calibration_error": spread(0.06)},
        "validation": mean + 0.01, "weight": None, "tried": (),
        "cost": TEACHER if entry == "lora" else COST,
        "step_seconds": 0.052 if entry == "student_alone" else 0.071,
        "peak_bytes": 412e6 if entry != "lora" else 6.1e9, "best": None, "alone": None,
        "runs": runs(entry), "chosen": f"{runs(entry)[1]}",
    }  # fmt: skip
    if "runs" in changes:
        facts["chosen"] = changes["runs"][1]
    return Row(**{**facts, **changes})


def runs(
    entry: str, data: str = "covid_ct", student: str = "shufflenet", block: Any = None
) -> tuple[str, ...]:
    """Names of cells, without what makes no difference to them."""
    teacher = (block or {}).get("teacher", "vit") if entry != "student_alone" else None
    parts = [data, teacher or "no_teacher", student if entry != "lora" else "no_student"]
    parts += ["from_start"] if (block or {}).get("start") and entry != "lora" else []
    return tuple("--".join([*parts, entry, f"seed{seed}"]) for seed in range(3))


def standing(
    data: str = "covid_ct", student: str = "shufflenet", shift: float = 0.0, **changes: Any
) -> Standing:
    """A block that RD leads: certainly over hint, by noise over the rest."""
    rows = [
        row(
            entry, mean + shift, runs=runs(entry, data, student, changes),
            best=None if entry in ("reprogramming_distillation", "lora") else
            against("RD", mean - 0.69, 0.004 if entry == "hint" else 0.21),
            alone=None if entry in ("student_alone", "lora") else
            against("student alone", mean - 0.65, 0.03 if mean > 0.68 else 0.4),
        )
        for entry, mean in MEANS.items()
    ]  # fmt: skip
    facts: dict[str, Any] = {
        "data": data, "teacher": "vit", "student": student, "start": None, "fraction": 1.0,
        "images": {"train": 425, "validation": 118, "test": 203},
        "classes": ("COVID", "NonCOVID"),
        "rows": tuple(sorted(rows, key=lambda row: -row.metrics["accuracy"].mean)),
        "probe": {"accuracy": spread(0.759, None)}, "teacher_cost": TEACHER,
    }  # fmt: skip
    return Standing(**{**facts, **changes})


def account(*standings: Standing, **changes: Any) -> Account:
    facts: dict[str, Any] = {
        "name": "table3", "metric": "accuracy", "seeds": (0, 1, 2), "tune": 1,
        "settings": {"training": "25 epochs, batch 32"},
        "standings": standings or (standing(),), "rankings": {}, "labels": LABELS,
        "own": "reprogramming_distillation",
        "variants": {"rd-without-cka": "method.weights.geometry=0"}, "absent": (), "failed": (),
        "machine": "Some Processor 3000", "peak_of": "the process", "recipe": "data: {}\n",
    }  # fmt: skip
    return Account(**{**facts, **changes})


def ranking(apart: float | None = 1.6) -> Ranking:
    averages = {"RD": 1.2, "KD": 2.4, "student alone": 2.9, "rd-without-cka": 3.6, "hint": 4.9}
    cliques = (("RD", "KD"), ("KD", "student alone", "rd-without-cka")) if apart else ()
    return Ranking(averages, 6 if apart else 3, 0.012, apart, cliques, ("lora+kd",))


def six_blocks() -> Account:
    """Three sets, two students; with ranks and a size that is small."""
    sets, students = ("covid_ct", "busi", "btc"), ("shufflenet", "resnet18")
    blocks = [
        standing(data, student, shift)
        for shift, data in zip((0.0, 0.1, 0.05), sets, strict=True)
        for student in students
    ]
    return account(*blocks, rankings={"from scratch": ranking()})


def three_sizes() -> Account:
    """One set, of which 10 and 25 % are used as well."""
    sizes = {0.1: (-0.12, 42), 0.25: (-0.06, 106), 1.0: (0.0, 425)}
    return account(*(
        standing(shift=shift, fraction=fraction, images={"train": count, "test": 203})
        for fraction, (shift, count) in sizes.items()
    ))  # fmt: skip
