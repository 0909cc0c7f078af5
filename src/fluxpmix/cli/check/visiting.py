"""A tool that comes to the job's server: rank 0 starts it, and holds what it sees against what the ranks say.

`look` is a step; the module is the tool's program as well. Standard 4.2, chapter 18.
"""

from __future__ import annotations

import os
import sys

from fluxpmix.cli.check.deaths import Missing, Wrong
from fluxpmix.cli.check.trying import SOON, Trial
from fluxpmix.pmix.status import PmixError
from fluxpmix.pmix.types import Scope

_KEY = "check.pid"
_UNREACHABLE = 3  # the exit code of a tool that is not let in


def say_pid(trial: Trial) -> None:
    """Put this process's id."""
    trial.client.put(Scope.GLOBAL, _KEY, os.getpid())
    trial.client.commit()


def look(trial: Trial) -> str | None:
    """Start a tool, and compare the process table that it is given. Raises `Wrong`, `Missing`."""
    if trial.rank:
        return None
    import json
    import subprocess

    seconds = 2.0 * SOON
    command = [sys.executable, "-m", "fluxpmix.cli.check.visiting", trial.client.proc.nspace]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise Wrong(f"a tool that connects to this job's server was not done in {seconds:g} s") from None
    said = (done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"])[-1]
    if done.returncode == _UNREACHABLE:
        raise Missing(f"a tool is not let in: {said}")
    if done.returncode:
        raise Wrong(f"a tool of this job: {said}")
    seen = dict(json.loads(done.stdout))
    there = {rank: trial.client.get(_KEY, trial.proc(rank)) for rank in range(trial.size)}
    if seen != there:
        raise Wrong(f"the processes of ranks and ids {there} are {seen} for a tool")
    return f"{len(seen)} processes"


def main(nspace: str) -> int:
    """Connect as a tool to the server whose client this process's parent is, and print its process table."""
    import json

    from fluxpmix.cli.ps import processes
    from fluxpmix.pmix.tool import Tool

    uri = next((value for name, value in sorted(os.environ.items()) if name.startswith("PMIX_SERVER_URI")), None)
    security = os.environ.get("PMIX_SECURITY_MODE", "native").partition(",")[0]
    try:
        tool = Tool(uri=uri, security=security)
    except PmixError as error:
        print(error, file=sys.stderr)
        return _UNREACHABLE
    try:
        print(json.dumps([(row.proc.rank, row.pid) for row in processes(tool, nspace)]), flush=True)
    except (PmixError, AttributeError) as error:  # AttributeError: an answer without a table
        print(f"PMIX_QUERY_PROC_TABLE: {error}", file=sys.stderr)
        return 1
    finally:
        tool.finalize()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
