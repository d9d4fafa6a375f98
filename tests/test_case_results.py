"""`cases.csv`: what is written comes back, and names nobody."""

from medistill.case_results import CaseResult, Score, read_cases, write_cases

CASES = [
    CaseResult("brain", "test", "ab12", 3, {
        "anterior": Score(1 / 3, 0.123456789012345, 2.5, 1e-7, 0.0),
        "posterior, left": Score(0.0, 0.0, None, 3.25, 0.0),
    }),
    CaseResult(
        "brain", "test", "ab12", -1, {"anterior": Score(1.0, 1.0, 0.0, 2.0, 2.0)}, "mr", "oasis"
    ),
    CaseResult("heart", "validation", "cd34", 0, {"ventricle": Score(0.5, 0.5, 1.0, 2.0, 2.5)}),
]  # fmt: skip


def test_cases_come_back_as_they_were_identical_images_included(tmp_path):
    write_cases(tmp_path / "cases.csv", CASES)
    assert read_cases(tmp_path / "cases.csv") == CASES


def test_file_has_a_row_for_each_case_and_class(tmp_path):
    write_cases(tmp_path / "cases.csv", CASES)
    head, *rows = (tmp_path / "cases.csv").read_text().splitlines()
    known = "task,split,case,sample,group,dataset,modality,class"
    assert head == f"{known},dice,nsd,hd95_mm,truth_ml,predicted_ml"
    assert rows[1] == 'brain,test,0,ab12,3,,,"posterior, left",0.0,0.0,,3.25,0.0'


def test_file_of_a_version_that_told_no_modality_is_read(tmp_path):
    (tmp_path / "cases.csv").write_text(
        "task,split,case,sample,group,class,dice,nsd,hd95_mm,truth_ml,predicted_ml\n"
        "heart,validation,0,cd34,0,ventricle,0.5,0.5,1.0,2.0,2.5\n"
    )
    assert read_cases(tmp_path / "cases.csv") == CASES[2:]


def test_mean_of_a_case_is_over_its_classes():
    assert CASES[0].dice == 1 / 6
