"""What a process has registered for removal goes when it ends, however it does; nothing else does."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import pytest
from cleaning import SPARED_SAYS, layout, left, spared, spared_layout, stays
from installed import PAIRS, VERSIONS
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


@pytest.mark.parametrize(("server", "client"), PAIRS)
def test_what_processes_want_spared_stays_and_the_server_lives(
    job: Launch, server: str, client: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    spared_layout(root, 2)
    words = ("-N2", "-n2", "-o", f"libpmix={libpmix(server)}", f"--env=FLUXPMIX_LIBPMIX={libpmix(client)}")
    result = job.run(*words, sys.executable, CLIENTS / "spares.py", root)
    assert result.lines == [f"{rank} {SPARED_SAYS}" for rank in range(2)]
    assert left(root) == spared(0) + spared(1)


def no_better_than_others() -> None:
    """In a child that is root: what it runs may do with files what they allow to their owners and others."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
        if libc.prctl(24, capability, 0, 0, 0) != 0:  # PR_CAPBSET_DROP
            raise OSError(ctypes.get_errno(), "prctl")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make files of another user")
@pytest.mark.parametrize("server", VERSIONS)
def test_what_is_another_users_stays(job: Launch, server: str, tmp_path: Path) -> None:
    root, path = tmp_path / "root", libpmix(server)
    layout(root)
    before = left(root)
    for each in (root, *root.rglob("*")):
        os.chown(each, 65534, 65534, follow_symlinks=False)
    words = ("-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}", sys.executable, CLIENTS / "cleans.py", root)
    result = job.run(*words, preexec_fn=no_better_than_others)
    assert result.out == "" and left(root) == before, result
