"""`report`: two segmentations on the same volumes are tested against each other, pair by pair."""

from dataclasses import replace

from medistill.case_results import read_cases, write_cases
from medistill.results import read_json
from medistill.runs.report import report
from tests.report.reading import read
from tests.report.volumes import folders


def test_page_says_whether_two_segmentations_differ_by_more_than_noise(tmp_path):
    run = folders.one_region(tmp_path / "lorkd", skill=0.92, worst=0)
    other = folders.one_region(tmp_path / "alone", skill=0.8, seed=4, worst=0)
    run.finish()
    other.finish()
    text = read(report(run.path, against=[other.path])).text
    found = read_json(run.differences)[str(other.path)]["hippocampus"]
    assert 0 < found["dice"]["low"] < found["dice"]["high"]
    assert found["hd95_mm"]["high"] < 0
    assert "distinguishable from noise" in text
    assert f"HD95 \N{MINUS SIGN}{-found['hd95_mm']['value']:.2f} mm" in text


def test_other_volumes_are_compared_in_words_alone(tmp_path):
    run = folders.one_region(tmp_path / "lorkd", worst=0)
    other = folders.one_region(tmp_path / "alone", worst=0)
    write_cases(other.cases, [replace(c, sample=c.sample[::-1]) for c in read_cases(other.cases)])
    run.finish()
    other.finish()
    text = read(report(run.path, against=[other.path])).text
    assert read_json(run.differences)[str(other.path)] == {}
    assert "it was judged on other images (0 of 26 here and 26 there are shared)" in text
