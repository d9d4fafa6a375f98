"""A deployed network beside the volumes of a split."""

import json
from pathlib import Path

import torch

from medistill.models.segmenters.base import Answering
from medistill.results import RunFolder
from medistill.runs.volumes.judging import Judge
from medistill.runs.volumes.outlining import Outliner
from tests.data.volumes.test_opening import opened
from tests.tiny_volumes import PATCH, tiny_segmenter
from tests.volumes import write_pairs

PARTS = ("train", "validation", "test", "test")
CLASSES = ("head", "tail")


def judge_of(root: Path) -> Judge:
    """Of a network that learnt nothing."""
    outliner = Outliner(Answering(tiny_segmenter(CLASSES), CLASSES), PATCH, torch.device("cpu"))
    return Judge(outliner, opened(root), 1.0)


def test_a_test_volume_that_is_listed_twice_is_drawn_once(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path, 4)
    rows = [f"{p['image']},{p['label']},{part}" for p, part in zip(pairs, PARTS, strict=True)]
    (tmp_path / "manifest.csv").write_text("\n".join(["image,label,split", *rows, rows[2]]))
    (tmp_path / "labels.json").write_text('{"1": "head", "2": "tail"}')
    judge = judge_of(tmp_path)
    assert len(judge.opened.digests) == 5 and len(set(judge.opened.digests)) == 4

    cases = judge.cases("test")
    index = judge.draw(cases, RunFolder(tmp_path / "run"), first=1, before=5)
    assert sorted(str(one["sample"]) for one in index) == sorted(case.sample for case in cases)
    assert {cases[int(str(one["case"])) - 5].sample: one["sample"] for one in index} == {
        case.sample: case.sample for case in cases
    }
    assert all((tmp_path / "run" / "slices" / str(one["file"])).exists() for one in index)


def test_a_case_tells_its_data_set_and_its_modality(tmp_path: Path) -> None:
    names = [("chaos", "mr"), ("chaos", "mr"), ("amos", "ct"), ("chaos", "mr")]
    rows = [
        {"image": pair["image"], "mask": pair["label"], "label": CLASSES, "split": part,
         "dataset": name, "modality": modality}
        for pair, part, (name, modality) in zip(write_pairs(tmp_path, 4), PARTS, names, strict=True)
    ]  # fmt: skip
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = {(case.dataset, case.modality) for case in judge_of(tmp_path).cases("test")}
    assert found == {("amos", "ct"), ("chaos", "mr")}
