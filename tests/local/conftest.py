"""The fixture `job`: runs jobs, and checks that they left nothing behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from launching import Launch


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Launch]:
    launch = Launch(tmp_path)
    try:
        yield launch
        launch.check()
    finally:
        launch.close()
