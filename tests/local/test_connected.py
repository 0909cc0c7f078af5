"""Connect and disconnect between real processes on two nodes, with both libraries."""

from __future__ import annotations

import sys

import pytest
from installed import VERSIONS
from launching import Launch, libpmix

pytestmark = pytest.mark.pmix
CLIENT = """
import sys
from fluxpmix import Client, PmixError, Proc
client = Client()
procs = [Proc(client.proc.nspace, rank) for rank in range(4)]
"""


@pytest.fixture(params=VERSIONS)
def words(request: pytest.FixtureRequest) -> list[str]:
    path = libpmix(request.param)
    return ["-N2", "-n4", "-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}", sys.executable, "-c"]


def test_processes_connect_and_disconnect_again_and_again(job: Launch, words: list[str]) -> None:
    text = "for _ in range(3): client.connect(procs); client.disconnect(procs)\nprint('done'); client.finalize()"
    result = job.run(*words, CLIENT + text)
    assert result.lines == ["done"] * 4 and result.err == ""


def test_what_is_not_connected_cannot_be_disconnected(job: Launch, words: list[str]) -> None:
    text = """
try: client.disconnect(procs)
except PmixError as error: print(error.status.name)
client.fence(); client.finalize()
"""
    assert job.run(*words, CLIENT + text).lines == ["ERR_INVALID_OPERATION"] * 4
