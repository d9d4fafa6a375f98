"""A segmentation from two roots of scans to masks on their grids, by the verbs that users call."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml

from medistill.case_results import read_cases
from medistill.errors import UserError
from medistill.models.deployed_segmenters import load_segmenter
from medistill.models.segmentation_teachers import FrozenSegmenter
from medistill.models.segmenters.base import Answering
from medistill.recipe import Recipe, validate
from medistill.results import RunFolder, read_json, read_jsonl, read_metrics, write_json
from medistill.runs.check import check
from medistill.runs.console import Console
from medistill.runs.evaluate import evaluate
from medistill.runs.export import export
from medistill.runs.load import load
from medistill.runs.predict import predict
from medistill.runs.report import report
from medistill.runs.train import train
from medistill.runs.volumes.outlining import Outliner
from medistill.runs.volumes.preparing import prepare
from medistill.scans import Preparation, read_scan, restore
from medistill.scans import prepare as prepared
from medistill.types import Batch, Output
from tests.phantom_volumes import make_msd, make_nnunet

NETWORK = {
    "name": "sat/unet",
    "options": {"widths": [4, 8], "convs": 1, "hidden": 16, "heads": 2, "layers": 1},
}
TASKS = ["abdomen", "brain"]


class Scans(NamedTuple):
    """Folders of tiny scans, and where they are prepared to."""

    brain: Path
    abdomen: Path
    store: Path


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Scans:
    folder = tmp_path_factory.mktemp("scans")
    return Scans(make_msd(folder / "brain"), make_nnunet(folder / "abdomen"), folder / "store")


def recipe_of(scans: Scans, method: Any, **changes: Any) -> Recipe:
    document = {
        "data": {
            "roots": {"brain": {"root": str(scans.brain)}, "abdomen": {"root": str(scans.abdomen)}},
            "store": str(scans.store),
            "task_sampling": "square_root",
            "patch": [8, 8, 8],
            "steps": 3,
        },
        "student": NETWORK,
        "method": method,
        "training": {
            "epochs": 2, "batch_size": 4, "learning_rate": 1e-2, "threads": 1, "select": "dice",
        },
        "evaluation": {"draws": 20},
    }  # fmt: skip
    return validate({**document, **changes})


@pytest.fixture(scope="module")
def taught(scans: Scans, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A foundation model for both regions."""
    return trained(recipe_of(scans, "multi_task"), tmp_path_factory.mktemp("runs") / "foundation")


@pytest.fixture(scope="module")
def decomposed(
    scans: Scans, taught: RunFolder, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    """A student with an expert for each region, imitating it; long enough to find something."""
    recipe = recipe_of(
        scans,
        {"name": "lorkd", "experts": {"rank": 2}, "warmup": 0.3},
        teacher=f"run:{taught.path}",
    )
    longer = recipe.model_copy(update={"data": recipe.data.model_copy(update={"steps": 20})})
    return trained(longer, tmp_path_factory.mktemp("runs") / "lorkd")


def trained(recipe: Recipe, out: Path) -> RunFolder:
    """A run without its ONNX files: `export` makes them, and takes seconds for each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medistill.runs.volumes.finishing.export_task", lambda *_: "not exported")
        return train(recipe, out)


def test_a_run_leaves_everything_that_a_reader_looks_for(taught: RunFolder) -> None:
    assert taught.finished
    assert taught.tasks() == TASKS
    log = read_jsonl(taught.log)
    assert [set(record["validation"]) for record in log] == [set(TASKS)] * 2
    assert all(0 <= found["dice"] <= 1 for r in log for found in r["validation"].values())
    metrics = read_metrics(taught.metrics)
    assert {"dice", "surface_dice", "hd95_mm", "dice/head"} <= set(metrics["test"]["brain"])
    assert {case.split for case in read_cases(taught.cases)} == {"validation", "test"}
    assert read_json(taught.cost)["student"]["seconds_a_volume"] > 0
    assert all(
        (taught.slices / one["file"]).exists() for one in read_json(taught.slices / "index.json")
    )
    assert "brain" in taught.report.read_text()
    assert taught.card.exists()


def test_nothing_of_a_run_names_a_scan(taught: RunFolder) -> None:
    texts = [p for p in taught.path.rglob("*") if p.suffix in (".json", ".csv", ".html", ".md")]
    assert texts
    assert not [p.name for p in texts if "brain_1" in p.read_text() or "a_1_" in p.read_text()]


def test_all_tasks_are_asked_of_one_network(taught: RunFolder) -> None:
    (brain, config), (abdomen, _) = (
        load_segmenter(taught.deployed(t).path) for t in ("brain", "abdomen")
    )
    assert brain.classes == ("head", "tail") and abdomen.classes == ("liver", "spleen")
    assert brain.segmenter.vocabulary == ("head", "tail", "liver", "spleen")
    assert config["shared_encoder"] and config["preparation"]["spacing_mm"] == [1, 1, 1]
    assert config["modalities"] == ["mr"]


def test_experts_are_folded_into_networks_of_the_students_size(
    taught: RunFolder, decomposed: RunFolder
) -> None:
    sizes = {
        sum(p.numel() for p in load_segmenter(run.deployed(task).path)[0].parameters())
        for run in (taught, decomposed)
        for task in TASKS
    }
    assert len(sizes) == 1
    assert (decomposed.path / "deployed" / "shared" / "config.json").exists()
    assert read_json(decomposed.environment)["teacher"]["name"] == f"run:{taught.path}"
    assert set(read_jsonl(decomposed.log)[0]["losses"]) == {"labels", "imitation"}


def test_what_all_tasks_hold_is_told(taught: RunFolder, decomposed: RunFolder) -> None:
    one, apart = read_json(taught.cost), read_json(decomposed.cost)
    # A network that is asked for all classes is kept once, folded experts for each region.
    assert one["together"]["parameters"] == one["student"]["parameters"]
    assert "unfused" not in one
    assert apart["unfused"]["ranks"] == [2, 2]
    alone, unfused = apart["student"]["parameters"], apart["unfused"]["parameters"]
    assert alone < unfused
    assert alone < apart["together"]["parameters"] <= 2 * alone


def test_a_teacher_of_patches_that_come_again_is_asked_once(
    scans: Scans, taught: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    answer = FrozenSegmenter.__call__

    def counted(self: FrozenSegmenter, batch: Batch) -> Output:
        asked.append(len(batch))
        return answer(self, batch)

    monkeypatch.setattr(FrozenSegmenter, "__call__", counted)

    def losses(**changes: Any) -> tuple[list[Any], int]:
        document = recipe_of(scans, "multi_task_distillation", teacher=f"run:{taught.path}")
        told = document.model_dump(mode="json")
        told["data"]["patches"] = 2
        told["teacher"].update(changes)
        asked.clear()
        number = len(list(tmp_path.iterdir()))
        run = trained(validate(told), tmp_path / f"run{number}")
        return [record["losses"] for record in read_jsonl(run.log)], sum(asked)

    anew, every_step = losses(cache=False)
    cached, once = losses()
    again, never = losses()
    assert every_step == 2 * 3 * 4  # epochs, steps, patches
    training = sum(one["volumes"]["train"] for one in read_json(taught.data).values())
    assert once >= 2 * training
    assert never == 0
    assert cached == again
    for one, other in zip(anew, cached, strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def test_an_exported_expert_outlines_a_scan_on_its_own_grid(
    scans: Scans, decomposed: RunFolder, tmp_path: Path
) -> None:
    import nibabel

    file = export(decomposed.path, task="abdomen", out=tmp_path / "abdomen.onnx")
    scan = scans.abdomen / "imagesTr" / "a_0_0000.nii.gz"
    assert predict(file, [scan], out=tmp_path / "mask.nii.gz")
    mask, own = nibabel.load(tmp_path / "mask.nii.gz"), nibabel.load(scan)
    assert mask.shape == own.shape
    np.testing.assert_array_equal(mask.affine, own.affine)

    network, config = load_segmenter(decomposed.deployed("abdomen").path)
    ready = prepared(read_scan(scan), Preparation.from_document(config["preparation"]))
    judged = Outliner(network, tuple(config["patch"]), torch.device("cpu"))(ready.image)
    assert judged.any()
    np.testing.assert_array_equal(np.asarray(mask.dataobj), restore(judged, ready.trace))


def test_evaluating_a_run_on_its_own_volumes_finds_what_the_run_found(taught: RunFolder) -> None:
    found = evaluate(taught.path, task="brain")
    assert found["dice"] == read_metrics(taught.metrics)["test"]["brain"]["dice"]


def test_surfaces_may_be_off_by_as_much_as_the_recipe_says(
    taught: RunFolder, tmp_path: Path
) -> None:
    run = RunFolder(Path(shutil.copytree(taught.path, tmp_path / "run")))
    text = run.recipe.read_text()
    assert "tolerance_mm: 1.0" in text
    run.recipe.write_text(text.replace("tolerance_mm: 1.0", "tolerance_mm: 100.0"))
    strict = read_metrics(taught.metrics)["test"]["brain"]["surface_dice"]["value"]
    lenient = evaluate(run.path, task="brain")["surface_dice"]["value"]
    # Only where nothing at all was found is no surface near.
    assert strict is not None and lenient is not None
    assert strict < lenient
    assert "within 100 mm" in report(run.path).read_text()


def test_other_volumes_are_asked_for_by_the_names_of_their_classes(
    scans: Scans, taught: RunFolder, tmp_path: Path
) -> None:
    other = make_msd(tmp_path / "elsewhere", cases=3, shape=(12, 12, 12))
    told = read_json(other / "dataset.json")
    told["labels"] = {"0": "background", "1": "front", "2": "tail"}
    write_json(other / "dataset.json", told)
    with pytest.raises(UserError, match="call a class 'front', which the run does not know"):
        evaluate(taught.path, data=other, task="brain")
    found = evaluate(taught.path, data=other, classes={"head": "front"}, task="brain")
    assert "dice/front" in found


def test_what_train_would_stop_at_stops_at_other_volumes_too(
    taught: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import nibabel

    other = make_msd(tmp_path / "ward", cases=3)
    path = other / "labelsTr" / "brain_1.nii.gz"
    values = np.asarray(nibabel.load(path).dataobj)
    moved = np.eye(4)
    moved[0, 3] = 2
    nibabel.save(nibabel.Nifti1Image(values, moved), path)
    evaluate(taught.path, data=other, task="brain")
    said = " ".join(capsys.readouterr().out.split())
    assert "labels whose header lays them elsewhere" in said
    assert "split is empty" not in said

    values[0, 0, 0] = 7
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    with pytest.raises(UserError, match=r"brain: labels with values that no class .*brain_1.*: 7"):
        evaluate(taught.path, data=other, task="brain")
    nibabel.save(nibabel.Nifti1Image(values[1:], np.eye(4)), path)
    with pytest.raises(UserError, match="labels of another shape than their scan") as raised:
        evaluate(taught.path, data=other, task="brain")
    assert "\n" not in str(raised.value)


def test_of_a_list_of_several_regions_the_runs_own_is_judged(
    scans: Scans, taught: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_msd(tmp_path / "clinic", cases=4)
    (other / "dataset.json").unlink()
    rows = [
        f"imagesTr/brain_{n}.nii.gz,labelsTr/brain_{n}.nii.gz,{'brain' if n else 'knee'}"
        for n in range(4)
    ]
    (other / "labels.json").write_text('{"1": "head", "2": "tail"}')
    (other / "manifest.csv").write_text("\n".join(["image,label,region", *rows]))
    evaluate(taught.path, data=other, task="brain")
    said = " ".join(capsys.readouterr().out.split())
    assert "its volumes of brain" in said and "3 volumes, 3 of them usable" in said
    # A run of a list has its region as `task`, whatever it is called itself.
    run = RunFolder(Path(shutil.copytree(taught.path, tmp_path / "run")))
    recipe = yaml.safe_load(run.recipe.read_text())
    recipe["data"]["roots"]["brain"] |= {"task": "knee", "layout": "msd"}
    run.recipe.write_text(yaml.safe_dump(recipe))
    evaluate(run.path, data=other, task="brain")
    assert "1 volumes, 1 of them usable" in " ".join(capsys.readouterr().out.split())


def test_what_other_volumes_are_may_be_said_where_their_files_do_not(
    taught: RunFolder, tmp_path: Path
) -> None:
    run = RunFolder(Path(shutil.copytree(taught.path, tmp_path / "run")))
    config = run.deployed("brain").config
    write_json(config, {**read_json(config), "modalities": ["ct", "mr"]})
    other = make_msd(tmp_path / "unit", cases=3)
    told = read_json(other / "dataset.json")
    for number, (known, found) in enumerate([("zscore", {"ct"}), ("MRI", {"mr"})]):
        place = Path(shutil.copytree(other, tmp_path / f"unit{number}"))
        write_json(place / "dataset.json", {**told, "modality": {"0": known}})
        evaluate(run.path, data=place, task="brain", modality="ct")
        (cases,) = run.path.glob(f"evaluations/brain-unit{number}*/cases.csv")
        assert {case.modality for case in read_cases(cases)} == found


def test_other_volumes_are_read_as_the_runs_own_were(
    scans: Scans, taught: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(Path(shutil.copytree(taught.path, tmp_path / "run")))
    recipe = yaml.safe_load(run.recipe.read_text())
    told = {"patient_pattern": "brain_([0-9])", "modality": "ct"}
    recipe["data"]["roots"]["brain"] |= told
    run.recipe.write_text(yaml.safe_dump(recipe))
    other = make_msd(tmp_path / "neighbours", cases=3)
    evaluate(run.path, data=other, task="brain")
    (found,) = run.path.glob("evaluations/brain-neighbours*/cases.csv")
    cases = read_cases(found)
    assert {case.group for case in cases} == {0, 1, 2}
    assert {case.modality for case in cases} == {"ct"}

    strange = make_msd(tmp_path / "strange", cases=3)
    recipe["data"]["roots"]["brain"]["patient_pattern"] = "patient-[0-9]"
    run.recipe.write_text(yaml.safe_dump(recipe))
    evaluate(run.path, data=strange, task="brain")
    assert "data.patient_pattern matches no path" in capsys.readouterr().out


def test_pooled_features_alone_are_aligned_where_answers_are_kept_and_that_is_said(
    scans: Scans, taught: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = recipe_of(scans, "rd", teacher=f"run:{taught.path}").model_dump(mode="json")
    document["data"] = {"root": str(scans.brain), "store": str(scans.store), "patch": [8, 8, 8]}
    document["data"] |= {"steps": 1, "patches": 1}
    document["training"]["epochs"] = 1
    device, console = torch.device("cpu"), Console()
    prepare(validate(document), RunFolder(tmp_path / "kept"), device, console)
    assert "pooled features alone are aligned" in capsys.readouterr().out
    document["teacher"]["cache"] = False
    job = prepare(validate(document), RunFolder(tmp_path / "asked"), device, console)
    assert "pooled features alone" not in capsys.readouterr().out
    assert job.method.teacher.map_shapes


def test_a_report_is_written_again_from_the_files_alone(taught: RunFolder) -> None:
    page = report(taught.path).read_text()
    assert report(taught.path).read_text() == page


def test_a_network_is_loaded_for_use_from_python(taught: RunFolder) -> None:
    network = load(taught.path, "brain")
    assert isinstance(network, Answering)


def test_check_says_what_there_is(scans: Scans, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(recipe_of(scans, "multi_task"))
    said = capsys.readouterr().out
    assert "brain: 10 volumes at 1 x 1 x 1 mm" in said
    assert "nothing at which training would stop" in said


def test_volumes_to_test_alone_can_be_checked_and_not_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_msd(tmp_path / "brain", cases=3)
    rows = [f"imagesTr/brain_{n}.nii.gz,labelsTr/brain_{n}.nii.gz,test" for n in range(3)]
    (root / "dataset.json").unlink()
    (root / "labels.json").write_text('{"1": "head", "2": "tail"}')
    (root / "manifest.csv").write_text("\n".join(["image,label,split", *rows]))
    recipe = recipe_of(Scans(root, root, tmp_path / "store"), "multi_task")
    document = recipe.model_dump(mode="json")
    document["data"]["roots"] = {"brain": {"root": str(root)}}
    check(validate(document))
    assert "brain: head, tail; " in capsys.readouterr().out
    with pytest.raises(UserError, match="brain: the train split is empty") as raised:
        train(validate(document), tmp_path / "run")
    assert "\n" not in str(raised.value)


def test_a_specialist_learns_one_root_by_itself_and_chooses_its_own_patch(
    scans: Scans, tmp_path: Path
) -> None:
    document = recipe_of(scans, "student_alone").model_dump(mode="json")
    data = {"root": str(scans.brain), "store": str(scans.store), "steps": 2}
    student = {"name": "monai/DynUNet", "options": {"filters": [4, 4, 8, 8]}}
    run = train(validate({**document, "data": data, "student": student}), tmp_path / "run")
    assert read_json(run.deployed("brain").config)["patch"] == [16, 16, 16]
    assert run.deployed("brain").onnx.exists()


def test_images_and_volumes_do_not_mix(scans: Scans, phantoms: Any, tmp_path: Path) -> None:
    document = recipe_of(scans, "multi_task").model_dump(mode="json")
    document["data"]["roots"]["flat"] = {"root": str(phantoms.flat)}
    with pytest.raises(UserError, match=r"data.roots.brain holds volumes and data.roots.flat does"):
        train(validate(document), tmp_path / "run")


def test_a_metric_of_images_cannot_choose_among_masks(scans: Scans, tmp_path: Path) -> None:
    recipe = recipe_of(scans, "multi_task", training={"select": "auroc", "epochs": 1})
    with pytest.raises(UserError, match=r"training\.select 'auroc' cannot choose"):
        train(recipe, tmp_path / "run")


def test_a_method_of_images_names_those_that_serve_volumes(scans: Scans, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pcgrad trains on images.*, knowledge_decomposition"):
        train(recipe_of(scans, "pcgrad"), tmp_path / "run")
