"""Tests of modules that say `OWN_PROCESS = True` run in a forked process each.

libpmix can be a server once in a process, and no test shall see what another left behind.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import tempfile
import traceback
from typing import Any

import pytest

# In seconds; a test that takes longer is stuck, and ends with every thread's place in the report.
DEADLINE = 90


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not getattr(pyfuncitem.module, "OWN_PROCESS", False):
        return None
    wanted = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as places:
        child = os.fork()
        if child == 0:
            os.close(reader)
            faulthandler.dump_traceback_later(DEADLINE, exit=True, file=places)
            told = pickle.dumps(outcome(pyfuncitem.obj, wanted))
            with os.fdopen(writer, "wb") as stream:
                stream.write(told)
            os._exit(0)
        os.close(writer)
        try:
            with os.fdopen(reader, "rb") as stream:
                told = stream.read()
        finally:
            _, status = os.waitpid(child, 0)
        places.seek(0)
        stuck = places.read().decode(errors="replace")
    ended = f"the test's process ended with {status:#x}\n{stuck}"
    kind, text = pickle.loads(told) if told else ("failed", ended)
    if kind == "skipped":
        pytest.skip(text)
    if kind == "failed":
        pytest.fail(text, pytrace=False)
    return True


def outcome(function: Any, arguments: dict[str, Any]) -> tuple[str, str]:
    try:
        function(**arguments)
    except pytest.skip.Exception as skipped:
        return "skipped", str(skipped)
    except BaseException:
        return "failed", traceback.format_exc()
    return "passed", ""
