"""What a run was made with."""

import getpass
import json
import platform
from pathlib import Path

import pytest

from medistill.runs import environment as module
from medistill.runs.environment import environment


def test_versions_and_hardware_are_there_and_nobody_is_named() -> None:
    facts = environment()
    assert facts["versions"]["python"] == platform.python_version()
    assert facts["cores"] >= 1
    text = json.dumps(facts)
    assert platform.node() not in text
    assert str(Path.home()) not in text
    user = getpass.getuser()
    assert user == "root" or user not in text


def test_the_processor_is_told_even_where_no_file_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")
    for place in (tmp_path / "cpuinfo", tmp_path / "nowhere"):
        monkeypatch.setattr("builtins.open", lambda *_, place=place, **__: place.open())
        monkeypatch.setattr(module.platform, "processor", lambda: "aarch64")
        assert module._processor() == "aarch64"
