"""What a process has registered for removal goes when it ends, however it does; nothing else does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cleaning import layout, left, stays
from installed import VERSIONS
from launching import CLIENTS, Launch, libpmix

pytestmark = pytest.mark.pmix


@pytest.mark.parametrize("end", ["", "die"])
@pytest.mark.parametrize("server", VERSIONS)
def test_what_was_registered_is_removed_and_no_link_is_followed_out(
    job: Launch, server: str, end: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    layout(root)
    path = libpmix(server)
    words = ("-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}", "-o", "exit-timeout=none")
    task = (sys.executable, CLIENTS / "cleans.py", root, *filter(None, [end]))
    job.run(*words, *task, code=137 if end else 0)
    assert left(root) == stays(server)
