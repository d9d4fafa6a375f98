"""How well a deployed network outlines the volumes of a split, on their own grids."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medistill.case_results import CaseResult
from medistill.data.volumes.facts import read_marked
from medistill.data.volumes.opening import OpenedVolumes
from medistill.evaluation.volumes import judge_volumes, measure_case
from medistill.report.volumes.slices import index_entry, render_slices, shown_cases
from medistill.results import Estimate, RunFolder
from medistill.runs.volumes.outlining import Outliner, overlapping
from medistill.scans import restore, spacing_mm

OnProgress = Callable[[int, int], None]
JUDGED_SPLITS = ("validation", "test")


@dataclass(frozen=True)
class Judge:
    """A network beside the volumes that it is judged on.

    Args:
        outliner: What is judged.
        opened: The volumes with their masks.
        tolerance_mm: How far a surface may be off and still count as right.
    """

    outliner: Outliner
    opened: OpenedVolumes
    tolerance_mm: float

    def cases(self, split: str, on_progress: OnProgress | None = None) -> list[CaseResult]:
        """The scores of each volume of a split, on the grid of its own file.

        Args:
            split: Of the volumes.
            on_progress: Called with volumes done and volumes in all.
        """
        rows = self.opened.dataset.splits[split].tolist()
        found = []
        for done, row in enumerate(rows, start=1):
            found.append(self._case(row, split))
            if on_progress:
                on_progress(done, len(rows))
        return found

    def estimates(self, cases: list[CaseResult], draws: int) -> dict[str, Estimate]:
        """Metrics of some cases with their intervals."""
        return judge_volumes(cases, self.opened.dataset.task.classes, draws=draws)

    def draw(
        self, cases: list[CaseResult], run: RunFolder, *, first: int, before: int
    ) -> list[dict[str, object]]:
        """Pictures of the worst cases and of a typical one; what the index says of them.

        Args:
            cases: All of one split, in its order.
            run: Where the pictures go.
            first: Number of the first picture.
            before: How many cases stand before these in `cases.csv`.
        """
        dataset = self.opened.dataset
        # Not by the digest: a row that repeats another one shares it, and was never prepared.
        rows = {id(case): row for case, row in zip(cases, self._rows(cases), strict=True)}
        numbers = {id(case): number for number, case in enumerate(cases, start=before)}
        index = []
        for number, shown in enumerate(shown_cases(cases), start=first):
            row, file = rows[id(shown.case)], f"{number:03d}.png"
            image = np.asarray(dataset.volumes.image(row), dtype=np.float32)
            colours = render_slices(
                image,
                dataset.volumes.label(row),
                self.outliner(image, per_class=overlapping(dataset, row)),
                dataset.task.classes,
                dataset.preparation.spacing_mm,
                run.slices / file,
            )
            index.append(index_entry(shown, file, colours, numbers[id(shown.case)]))
        return index

    def _rows(self, cases: list[CaseResult]) -> list[int]:
        """The row of each case of a split."""
        rows: list[int] = self.opened.dataset.splits[cases[0].split].tolist() if cases else []
        return rows

    def _case(self, row: int, split: str) -> CaseResult:
        dataset, trace = self.opened.dataset, self.opened.dataset.traces[row]
        scan, truth = read_marked(self.opened.layout, self.opened.cases[row])
        assert trace is not None, "a volume of a split was prepared"
        assert truth is not None, "a volume of a split has a label"
        said = self.outliner(dataset.volumes.image(row), per_class=truth.ndim == 4)
        x, y, z = spacing_mm(scan.affine).tolist()
        scores = measure_case(
            restore(said, trace),
            truth,
            dataset.task.classes,
            (x, y, z),
            tolerance_mm=self.tolerance_mm,
        )
        looked_for = [dataset.task.classes[place] for place in dataset.known[row]]
        return CaseResult(
            task=dataset.task.name,
            split=split,
            sample=self.opened.digests[row],
            group=self._groups()[row],
            scores={name: scores[name] for name in looked_for},
            modality=self.opened.modality(row),
            dataset=self.opened.cases[row].dataset,
        )

    def _groups(self) -> list[int]:
        """Number of each row's patient, or -1: who belongs together, and nothing else."""
        patients = self.opened.dataset.patients
        known = {name: place for place, name in enumerate(dict.fromkeys(filter(None, patients)))}
        return [known[name] if name else -1 for name in patients]
