import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from torch import nn

from medistill.data.formats import read_image
from medistill.errors import UserError
from medistill.export.parity import in_torch
from medistill.export.runtime import Model, Summary, predict_files

from .conftest import CLASSES, config


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with images of many kinds, a broken one, and things that are no images."""
    folder, noise = tmp_path / "images", np.random.default_rng(0)
    (folder / "sub").mkdir(parents=True)
    Image.fromarray(noise.integers(0, 256, (70, 70), np.uint8)).save(folder / "grey.png")
    Image.fromarray(noise.integers(0, 256, (70, 70, 3), np.uint8)).save(folder / "colour.png")
    Image.fromarray(noise.integers(0, 256, (900, 70), np.uint8)).save(folder / "sub" / "tall.jpg")
    write_dicom(folder / "IM0001")
    (folder / "broken.png").write_bytes(b"\x89PNG no more")
    (folder / "notes.txt").write_text("no image")
    return folder


def write_dicom(path: Path) -> None:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    scan = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    scan.PatientName = "SECRET^PATIENT"
    scan.Rows, scan.Columns, scan.SamplesPerPixel = 70, 75, 1
    scan.PhotometricInterpretation = "MONOCHROME2"
    scan.BitsAllocated, scan.BitsStored, scan.HighBit, scan.PixelRepresentation = 16, 12, 11, 0
    scan.PixelData = np.arange(70 * 75, dtype=np.uint16).tobytes()
    scan.save_as(path)


def table(out: Path) -> dict[str, dict[str, str]]:
    with out.open(newline="", encoding="utf-8") as file:
        return {Path(row["file"]).name: row for row in csv.DictReader(file)}


def test_prediction_equals_the_network_in_torch(
    exported: Path, small: nn.Module, images: Path
) -> None:
    picture = read_image(images / "colour.png")

    assert Model(exported).classes == tuple(CLASSES)
    assert Model(exported).predict(picture) == pytest.approx(
        in_torch(small, config(), picture).numpy(), abs=1e-5
    )


def test_every_image_gets_a_row_and_unreadable_ones_say_why(
    exported: Path, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "table.csv"
    summary = predict_files(Model(exported), [images], out)
    rows = table(out)

    assert set(rows) == {"grey.png", "colour.png", "tall.jpg", "IM0001", "broken.png"}
    broken = rows["broken.png"]
    assert broken["error"]
    assert not broken["error"].startswith(broken["file"])  # the row names it already
    assert not any(broken[column] for column in broken if column not in ("file", "error"))
    assert summary == Summary(4, {(images / "broken.png").as_posix(): broken["error"]}, 3)


def test_progress_is_told_after_each_file(exported: Path, images: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    predict_files(Model(exported), [images], tmp_path / "table.csv", lambda *at: seen.append(at))

    assert seen == [(number, 5) for number in range(1, 6)]


def test_row_holds_the_probabilities_the_best_class_and_the_decision(
    exported: Path, images: Path, tmp_path: Path
) -> None:
    predict_files(Model(exported), [images / "grey.png"], tmp_path / "table.csv")
    row = table(tmp_path / "table.csv")["grey.png"]
    probabilities = {name: float(row[f"p:{name}"]) for name in CLASSES}

    assert sum(probabilities.values()) == pytest.approx(1, abs=2e-6)  # six digits each
    assert row["predicted"] == max(probabilities, key=probabilities.__getitem__)
    assert (row["decision"] == "malignant") == (probabilities["malignant"] >= 0.2)
    assert row["unlike"] == row["error"] == ""


def test_images_unlike_the_training_images_are_flagged_with_the_reason(
    exported: Path, images: Path, tmp_path: Path
) -> None:
    predict_files(Model(exported), [images], tmp_path / "table.csv")
    rows = table(tmp_path / "table.csv")

    assert "height 900" in rows["tall.jpg"]["unlike"]
    assert "colour" in rows["colour.png"]["unlike"]
    assert "highest value 4095" in rows["IM0001"]["unlike"]


def test_nothing_of_a_dicom_header_reaches_the_table(
    exported: Path, images: Path, tmp_path: Path
) -> None:
    predict_files(Model(exported), [images / "IM0001"], tmp_path / "table.csv")

    assert "SECRET" not in (tmp_path / "table.csv").read_text()


def test_rows_written_before_a_stop_are_kept_and_an_older_table_is_not_touched(
    exported: Path, images: Path, tmp_path: Path
) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    out = tmp_path / "table.csv"
    out.write_text("older")
    with pytest.raises(KeyboardInterrupt):
        predict_files(Model(exported), [images], out, stop)

    assert out.read_text() == "older"
    assert len(table(tmp_path / "table.csv.part")) == 2


def test_without_a_file_the_table_is_printed(
    exported: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict_files(Model(exported), [images / "grey.png"], None)
    head, row = capsys.readouterr().out.splitlines()

    assert head == "file,predicted,decision,p:benign,p:malignant,p:normal,unlike,error"
    assert row.startswith((images / "grey.png").as_posix())


def test_a_file_that_two_inputs_name_is_predicted_once(
    exported: Path, images: Path, tmp_path: Path
) -> None:
    inputs = [images / "grey.png", images, images / "sub"]

    assert predict_files(Model(exported), inputs, tmp_path / "table.csv").written == 4


def test_missing_input_is_named_as_written_and_as_resolved(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"No file or folder nowhere \(looked for /.*/nowhere\)"):
        predict_files(Model(exported), [Path("nowhere")], tmp_path / "table.csv")


def test_folder_without_images_is_an_error(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No image in"):
        predict_files(Model(exported), [tmp_path], tmp_path / "table.csv")


def test_table_never_replaces_an_image_or_a_folder(exported: Path, images: Path) -> None:
    model = Model(exported)
    with pytest.raises(UserError, match="is one of the images"):
        predict_files(model, [images], images / "sub" / ".." / "grey.png")
    with pytest.raises(UserError, match="is a folder"):
        predict_files(model, [images], images)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_table_that_cannot_be_written_is_one_line(
    exported: Path, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot be written: Permission denied"):
        predict_files(Model(exported), [images], tmp_path / "closed" / "table.csv")


def test_table_in_the_place_of_a_file_s_folder_is_one_line(exported: Path, images: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be written: (Not a directory|File exists)"):
        predict_files(Model(exported), [images], images / "notes.txt" / "table.csv")


def test_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"No model at .*model\.onnx"):
        Model(tmp_path / "model.onnx")


@pytest.mark.parametrize("content", [b"", b"\x00\x01 no graph", b"0" * 1000])
def test_file_that_is_no_onnx_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)

    with pytest.raises(UserError, match="cannot be loaded as ONNX") as caught:
        Model(tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)


def test_half_of_a_file_is_one_line(exported: Path, tmp_path: Path) -> None:
    whole = exported.read_bytes()
    (tmp_path / "model.onnx").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(UserError, match="cannot be loaded as ONNX"):
        Model(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("entry", "reason"),
    [({}, "was not written by medistill"), ({"medistill": "{}"}, "metadata cannot be used")],
)
def test_onnx_file_of_others_is_one_line(
    exported: Path, tmp_path: Path, entry: dict[str, str], reason: str
) -> None:
    model = onnx.load(exported)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, entry)
    onnx.save(model, tmp_path / "model.onnx")

    with pytest.raises(UserError, match=reason):
        Model(tmp_path / "model.onnx")


def test_predicting_imports_no_torch_and_says_nothing(
    exported: Path, images: Path, tmp_path: Path
) -> None:
    blocked = (
        "torch", "torchvision", "timm", "onnx", "pydantic", "matplotlib", "scipy", "jaxtyping",
    )  # fmt: skip
    code = f"""
import sys
sys.modules.update(dict.fromkeys({blocked}))
from pathlib import Path
from medistill.export.runtime import Model, predict_files
predict_files(Model(Path({str(exported)!r})), [Path({str(images)!r})], Path("table.csv"))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(table(tmp_path / "table.csv")) == 5
