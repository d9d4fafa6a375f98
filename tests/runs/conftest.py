"""Runs need no network, and their tests none of the seconds that latency and export take."""

import pytest

from tests.trained import quick_finish, refuse_network


@pytest.fixture(autouse=True)
def _alone_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_network(monkeypatch)
    quick_finish(monkeypatch)
