"""The demonstration, with a handful of images."""

from pathlib import Path
from typing import Any

import pytest

from medistill.runs import demo as demonstration


def test_the_demonstration_goes_all_the_way_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    predicted: list[Any] = []
    monkeypatch.setattr(demonstration, "SIZE", 32)
    monkeypatch.setattr(demonstration, "KNOWN", {"brain_mr": 8, "chest_xray": 8})
    monkeypatch.setattr(demonstration, "LABELLED", 4)
    monkeypatch.setattr(demonstration, "TESTED", 4)
    monkeypatch.setattr(
        demonstration, "_schedule", lambda **_: {"epochs": 1, "batch_size": 8, "threads": 1}
    )
    monkeypatch.setattr(
        demonstration, "predict", lambda *arguments, **_: predicted.append(arguments)
    )
    demonstration.demo(tmp_path / "demo")
    said = capsys.readouterr().out
    assert "<h1" in (tmp_path / "demo" / "report.html").read_text()
    for shown in ("student alone", "student by RD", "foundation model", "medistill check"):
        assert shown in said
    assert len(predicted) == 1
    demonstration.demo(tmp_path / "demo")
    assert capsys.readouterr().out.count("is finished: nothing to do") == 3
