"""A root is recognised by looking, and what cannot be used is refused in one line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medistill import catalog
from medistill.data.layouts.base import Layout, Sample, official_split, open_root, with_patients
from medistill.data.layouts.class_folders import ClassFolders
from medistill.data.layouts.flat_images import FlatImages
from medistill.data.layouts.manifest import Manifest
from medistill.data.layouts.medmnist import Medmnist
from medistill.data.layouts.split_folders import SplitFolders
from medistill.errors import UserError

REAL = Path(__file__).parents[3] / "shared" / "data"
real = pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data is not beside this checkout")


def images(root: Path, *names: str) -> Path:
    """Small images of these names, with their folders."""
    for value, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (5, 4), value).save(root / name)
    return root


def table(root: Path, text: str, name: str = "manifest.csv", encoding: str = "utf-8") -> Path:
    """A folder with images a.png and b.png and this table."""
    images(root, "a.png", "b.png")
    (root / name).write_bytes(text.encode(encoding))
    return root


def arrays(path: Path, parts: dict[str, int], shape: tuple[int, ...] = (1,)) -> Path:
    """An array file of MedMNIST with so many images in each split and labels of this shape."""
    held = {}
    for part, count in parts.items():
        held[f"{part}_images"] = np.arange(count * 16, dtype=np.uint8).reshape(count, 4, 4)
        held[f"{part}_labels"] = (np.arange(count) % 3).astype(np.uint8)
        held[f"{part}_labels"] = np.broadcast_to(
            held[f"{part}_labels"].reshape(count, *(1 for _ in shape)), (count, *shape)
        )
    np.savez(path, **held)
    return path


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "validation", "Testing")])
def test_split_folders_are_recognised_in_any_spelling(
    tmp_path: Path, names: tuple[str, str, str]
) -> None:
    images(tmp_path, *(f"{split}/{label}/x.png" for split in names for label in ("ill", "well")))
    layout = open_root(tmp_path)
    assert isinstance(layout, SplitFolders)
    assert layout.classes() == ("ill", "well")
    assert [sample.split for sample in layout.samples()].count("validation") == 2
    assert {sample.split for sample in layout.samples()} == {"train", "validation", "test"}


@pytest.mark.parametrize(
    ("name", "split"),
    [("VALID", "validation"), (" Val ", "validation"), ("TRAIN", "train"), ("extra", None)],
)
def test_names_of_splits(name: str, split: str | None) -> None:
    assert official_split(name) == split


def test_a_test_folder_alone_is_a_root_for_evaluation(tmp_path: Path) -> None:
    images(tmp_path, "test/ill/x.png", "test/well/x.png")
    assert {sample.split for sample in open_root(tmp_path).samples()} == {"test"}


def test_folders_beside_the_splits_are_left_alone(tmp_path: Path) -> None:
    images(tmp_path, "train/ill/x.png", "test/ill/x.png", "figures/y.png")
    assert len(open_root(tmp_path).samples()) == 2


def test_images_right_in_a_split_have_no_label(tmp_path: Path) -> None:
    images(tmp_path, "train/ill/x.png", "test/y.png")
    assert Sample("test/y.png", None, "test") in open_root(tmp_path).samples()


def test_class_folders_are_recognised(tmp_path: Path) -> None:
    images(tmp_path, "b/x.png", "a/x.png", "a/w.png")
    layout = open_root(tmp_path)
    assert isinstance(layout, ClassFolders)
    assert layout.samples() == [
        Sample("a/w.png", "a"),
        Sample("a/x.png", "a"),
        Sample("b/x.png", "b"),
    ]


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_folders_of_patients_inside_a_class_are_read(tmp_path: Path, prefix: str) -> None:
    images(tmp_path, f"{prefix}ill/p1/s2/x.png", f"{prefix}ill/p2/x.png", f"{prefix}well/p3/x.png")
    layout = open_root(tmp_path)
    assert layout.classes() == ("ill", "well")
    patients = [sample.patient for sample in with_patients(layout.samples(), r"/(p\d)/")]
    assert patients == ["p1", "p2", "p3"]


def test_hidden_files_and_leftovers_are_no_samples_and_no_classes(tmp_path: Path) -> None:
    images(tmp_path, "a/x.png", "b/x.png", "__MACOSX/a/x.png", ".cache/x.png", "a/.x.png")
    (tmp_path / "a" / "Thumbs.db").touch()
    (tmp_path / ".DS_Store").touch()
    assert [sample.source for sample in open_root(tmp_path).samples()] == ["a/x.png", "b/x.png"]


def test_classes_that_are_numbers_stand_in_the_order_of_numbers(tmp_path: Path) -> None:
    images(tmp_path, *(f"{label}/x.png" for label in (10, 9, 1, 2)))
    assert open_root(tmp_path).classes() == ("1", "2", "9", "10")


def test_flat_images_have_neither_label_nor_split(tmp_path: Path) -> None:
    images(tmp_path, "b.png", "a.png", "more/c.png")
    layout = open_root(tmp_path)
    assert isinstance(layout, FlatImages)
    assert layout.samples() == [Sample("a.png"), Sample("b.png"), Sample("more/c.png")]
    assert layout.classes() == ()


def test_a_manifest_tells_all_that_is_known(tmp_path: Path) -> None:
    text = "path,label,split,patient\nb.png,ill,Testing,p2\n./a.png,well,,\n"
    layout = open_root(table(tmp_path, text))
    assert isinstance(layout, Manifest)
    assert layout.samples() == [Sample("a.png", "well"), Sample("b.png", "ill", "test", "p2")]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("PATH, Label \na.png,ill\nb.png,well\n", "utf-8"),
        ("path,label\r\na.png,ill\r\n\r\nb.png,well\r\n", "utf-8-sig"),
        ("path;label\na.png;ill\nb.png;well\n", "utf-8"),
        ('label\tpath\nill\t"a.png"\nwell\tb.png', "utf-8"),
        ("path,label\n.\\a.png,ill\n.\\b.png,well\n", "utf-8"),
    ],
)
def test_tables_as_spreadsheets_write_them(tmp_path: Path, text: str, encoding: str) -> None:
    layout = open_root(table(tmp_path, text, encoding=encoding))
    assert layout.samples() == [Sample("a.png", "ill"), Sample("b.png", "well")]


def test_a_single_table_of_any_name_is_the_manifest(tmp_path: Path) -> None:
    table(tmp_path, "path,label\na.png,ill\n", name="Cohort.CSV")
    assert isinstance(open_root(tmp_path), Manifest)
    assert len(open_root(tmp_path / "Cohort.CSV").samples()) == 1


def test_a_table_about_something_else_does_not_hide_the_folders(tmp_path: Path) -> None:
    images(tmp_path, "a/x.png", "b/x.png")
    (tmp_path / "scores.csv").write_text("run,accuracy\n1,0.5\n")
    assert isinstance(open_root(tmp_path), ClassFolders)


def test_a_repeated_row_stays_repeated(tmp_path: Path) -> None:
    root = table(tmp_path, "path,label\nb.png,ill\na.png,ill\nb.png,ill\n")
    assert [s.source for s in open_root(root).samples()] == ["a.png", "b.png", "b.png"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("file,label\na.png,ill\n", r"no column 'path', only file, label"),
        (
            "path,oedema,mass\na.png,1,1\n",
            r"no column 'label', only path, oedema, mass.*multi-label",
        ),
        ("", "no column 'path', only an empty first line"),
        ("path,label\na.png,ill\ngone.png,ill\n", r"1 of 2 files are not in .*: gone\.png"),
        ("path,label,split\na.png,ill,fold3\n", r"line 2: split 'fold3' is none of train"),
        ("path,label\n,ill\n", "line 2: the path is empty"),
        ("path,label\na.png,ill,too,much\n", "line 2: more cells than columns"),
        ("path,label\na.png,oedema|mass\n", r"line 2: 'oedema\|mass' is multi-label"),
    ],
)
def test_a_broken_manifest_is_named_with_its_line(
    tmp_path: Path, text: str, complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        open_root(table(tmp_path, text)).samples()
    assert "\n" not in str(caught.value)


def test_a_table_in_another_encoding_is_named(tmp_path: Path) -> None:
    root = table(tmp_path, "path,label\na.png,gesund für immer\n", encoding="latin-1")
    with pytest.raises(UserError, match="not a CSV table in UTF-8"):
        open_root(root).samples()


TASKS = "path,label,task\na.png,ill,lung\nb.png,well,lung\na.png,left,side\n"


def test_one_of_several_tasks_is_read(tmp_path: Path) -> None:
    assert open_root(table(tmp_path, TASKS), task="side").samples() == [Sample("a.png", "left")]


def test_a_single_task_needs_no_name(tmp_path: Path) -> None:
    root = table(tmp_path, "path,label,task\na.png,ill,lung\nb.png,well,lung\n")
    assert len(open_root(root).samples()) == 2


@pytest.mark.parametrize(
    ("text", "task", "complaint"),
    [
        (TASKS, None, r"lists several tasks \(lung, side\); name one"),
        (TASKS, "heart", "no task 'heart'; it lists lung, side"),
        ("path,label\na.png,ill\n", "heart", "no task 'heart'; it lists none"),
    ],
)
def test_a_task_that_is_not_clear_is_asked_for(
    tmp_path: Path, text: str, task: str | None, complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        open_root(table(tmp_path, text), task=task).samples()


def test_a_task_needs_a_manifest(tmp_path: Path) -> None:
    images(tmp_path, "a/x.png", "b/x.png")
    with pytest.raises(UserError, match="task 'lung' needs a manifest"):
        open_root(tmp_path, task="lung")


@pytest.mark.parametrize("shape", [(), (1,)])
def test_array_files_are_read_with_labels_of_either_shape(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    file = arrays(tmp_path / "toy.npz", {"train": 5, "val": 2, "test": 3}, shape)
    for root in (file, tmp_path):
        layout = open_root(root)
        assert isinstance(layout, Medmnist)
        assert layout.classes() == ("0", "1", "2")
        assert layout.samples()[4] == Sample("toy.npz#train/1", "1", "train")
        assert (layout.read(layout.samples()[4]).pixels.ravel() == np.arange(16, 32)).all()


def test_several_labels_an_image_are_refused(tmp_path: Path) -> None:
    file = arrays(tmp_path / "toy.npz", {"train": 5}, (14,))
    with pytest.raises(UserError, match="14 labels an image; multi-label"):
        open_root(file).samples()


def test_several_array_files_are_named(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        arrays(tmp_path / name, {"train": 2})
    with pytest.raises(UserError, match=r"2 \.npz files \(a\.npz, b\.npz\); name one"):
        open_root(tmp_path)


def test_volumes_in_an_array_file_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "toy.npz"
    np.savez(file, train_images=np.zeros((2, 4, 4, 4)), train_labels=np.zeros(2))
    with pytest.raises(UserError, match="2D images only"):
        open_root(file).samples()


def test_labels_that_do_not_match_the_images_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", train_images=np.zeros((2, 4, 4)), train_labels=np.zeros(3))
    with pytest.raises(UserError, match="2 train_images but 3 train_labels"):
        open_root(tmp_path).samples()


def test_an_array_file_of_something_else_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", weights=np.zeros(3))
    with pytest.raises(UserError, match=r"no train_images.*holds weights"):
        open_root(tmp_path).samples()


@pytest.mark.parametrize("content", [b"", b"no zip"])
def test_a_broken_array_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.npz: cannot be read as an array file"):
        open_root(tmp_path).samples()


def test_a_pickle_in_an_array_file_is_never_executed(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "executed",)  # type: ignore[return-value]

    images = np.array([Trap()], dtype=object)
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=np.zeros(1))
    with pytest.raises(UserError, match="cannot be read"):
        open_root(tmp_path).samples()
    assert not (tmp_path / "executed").exists()


def test_a_missing_root_is_named_as_written_and_as_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"'x/\.\./gone' .*looked at {tmp_path}/gone"):
        open_root(Path("x/../gone"))


@pytest.mark.parametrize(
    "names", [["scan.nii.gz"], ["dataset.json", "imagesTr/a.nii.gz"], ["ill/a.nii", "well/b.nii"]]
)
def test_volumes_are_refused_with_a_word(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="holds volumes"):
        open_root(tmp_path)


@pytest.mark.parametrize("names", [[], ["notes.txt"]])
def test_an_empty_folder_is_told_what_is_known(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="no layout fits") as caught:
        open_root(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_around_the_root_is_seen_through(tmp_path: Path) -> None:
    images(tmp_path, "download/train/ill/x.png", "download/train/well/x.png")
    with pytest.raises(UserError, match=r"Did you mean .*/download\?"):
        open_root(tmp_path)


def test_a_layout_can_be_named(tmp_path: Path) -> None:
    images(tmp_path, "a/x.png", "b/x.png")
    assert isinstance(open_root(tmp_path, "flat_images"), FlatImages)
    assert isinstance(open_root(table(tmp_path, "path,label\n"), "csv"), Manifest)
    with pytest.raises(UserError, match="Did you mean 'class_folders'"):
        open_root(tmp_path, "class_folder")


def test_no_two_layouts_are_asked_at_once() -> None:
    package = "medistill.data.layouts"
    found = [catalog.find(package, name, Layout) for name in catalog.available(package)]  # type: ignore[type-abstract]
    assert len({layout.rank for layout in found}) == len(found) == 5


def test_patients_are_read_off_paths_where_none_is_known() -> None:
    samples = [Sample("person12_a.png"), Sample("person3_b.png", patient="p"), Sample("x.png")]
    assert [s.patient for s in with_patients(samples, r"person(\d+)")] == ["12", "p", None]
    assert with_patients(samples, r"person\d+")[0].patient == "person12"


@pytest.mark.parametrize(
    ("pattern", "complaint"), [("person(", "is no pattern"), ("case", r"no path such as 'a\.png'")]
)
def test_a_pattern_that_cannot_help_is_named(pattern: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        with_patients([Sample("a.png")], pattern)


@real
@pytest.mark.parametrize(
    ("root", "layout", "splits"),
    [
        ("covid_ct", SplitFolders, {"train": 425, "validation": 118, "test": 203}),
        ("busi", Manifest, {None: 780}),
        ("chest_xray_pneumonia", SplitFolders, {"train": 2000, "test": 624}),
        ("covid_chest_xray", Manifest, {None: 575}),
        ("alzheimer_mri", ClassFolders, {None: 2064}),
        ("blood_cells", SplitFolders, {"train": 1400, "test": 400}),
        ("mednist", ClassFolders, {None: 3600}),
        ("medmnist/breastmnist.npz", Medmnist, {"train": 546, "validation": 78, "test": 156}),
        ("medmnist/retinamnist.npz", Medmnist, {"train": 1080, "validation": 120, "test": 400}),
        ("dicom_series/brain_flair", FlatImages, {None: 22}),
    ],
)
def test_the_real_sets_are_recognised(
    root: str, layout: type[Layout], splits: dict[str | None, int]
) -> None:
    opened = open_root(REAL / root)
    samples = opened.samples()
    assert type(opened) is layout
    counts = {split: sum(s.split == split for s in samples) for split in splits}
    assert counts == splits and len(samples) == sum(splits.values())
    assert opened.read(samples[0]).pixels.any()


@real
@pytest.mark.parametrize(
    ("root", "complaint"),
    [
        ("hippocampus", "holds volumes"),
        ("Dataset101_AbdomenMR", "holds volumes"),
        ("full_size/brain_t1.nii.gz", "holds volumes"),
        ("medmnist", "name one"),
        ("weights", "no layout fits"),
    ],
)
def test_what_cannot_be_used_yet_is_refused(root: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        open_root(REAL / root)
