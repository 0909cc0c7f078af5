"""PMIx_Log of real processes, with both libraries."""

from __future__ import annotations

import sys

import pytest
from installed import VERSIONS
from launching import Launch, libpmix

pytestmark = pytest.mark.pmix

SCRIPT = """
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, describe
from fluxpmix.pmix.types import Info
with Client() as client:
    client.log([Info(a.LOG_STDOUT, "to the output"), Info(a.LOG_STDERR, "to the errors")], {a.LOG_TAG_OUTPUT: True})
    client.log([Info(a.LOG_SYSLOG, "to the syslog")])
    client.log([Info(a.LOG_JOB_RECORD, True), Info(a.LOG_MSG, b"to the record")])
    try:
        client.log([Info(a.LOG_GLOBAL_DATASTORE, True)])
    except PmixError as error:
        client.log([Info(a.LOG_STDOUT, describe(error.status))])
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_a_process_logs_to_its_output_and_to_the_jobs_log(job: Launch, version: str) -> None:
    path = libpmix(version)
    library = ["-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}"]
    result = job.run("-N2", "-n2", "--label-io", "-o", "verbose=1", *library, sys.executable, "-c", SCRIPT)
    assert result.lines == [
        *("0: PMIX_ERR_NOT_SUPPORTED", "0: [stdout] to the output"),
        *("1: PMIX_ERR_NOT_SUPPORTED", "1: [stdout] to the output"),
    ]
    for rank in (0, 1):
        assert f"{rank}: [stderr] to the errors\n" in result.err
        assert f"rank {rank}: to the record" in result.err
        assert f"PMIx_Log of pmix.log.gstore by rank {rank} is refused: there is no data store" in result.err
