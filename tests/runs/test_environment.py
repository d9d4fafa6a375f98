"""What a run was made with."""

import getpass
import json
import platform
from pathlib import Path

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
