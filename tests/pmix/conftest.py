"""Tests of modules that say `OWN_PROCESS = True` run in a forked process each.

libpmix can be a server once in a process, and no test shall see what another left behind.
"""

from __future__ import annotations

import os
import pickle
import traceback
from typing import Any

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not getattr(pyfuncitem.module, "OWN_PROCESS", False):
        return None
    wanted = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        with os.fdopen(writer, "wb") as stream:
            pickle.dump(outcome(pyfuncitem.obj, wanted), stream)
        os._exit(0)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as stream:
            told = stream.read()
    finally:
        _, status = os.waitpid(child, 0)
    kind, text = pickle.loads(told) if told else ("failed", f"the test's process ended with {status:#x}")
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
