"""What a job is given later: more time, other resources. `operations.py` names these steps.

Standard 4.2, section 12.1. What is given is given back at once.
"""

from __future__ import annotations

import time

from fluxpmix.cli.check.deaths import Wrong
from fluxpmix.cli.check.trying import SOON, Trial
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import PmixError, PmixOutOfResource, PmixTimeout
from fluxpmix.pmix.types import RANK_WILDCARD, AppSpec, DataType, Info, Proc, QueryItem, find

_NEW, _EXTEND, _RELEASE = 1, 2, 3  # `pmix_alloc_directive_t`
_MORE = 60  # seconds of time
_WAIT = 2  # seconds for resources that others may have
_STEP = 0.02
_REQUEST = "check.request"


def more_time(trial: Trial) -> str | None:
    """Ask for more time, and see that it is there."""
    if trial.rank:
        return None
    before = _left(trial)
    answer = trial.client.allocate(_EXTEND, [Info(a.ALLOC_TIME, f"{_MORE}s"), Info(a.ALLOC_REQ_ID, _REQUEST)])
    if find(answer, a.ALLOC_REQ_ID) != _REQUEST:
        raise Wrong(f"the answer does not name the request: {find(answer, a.ALLOC_REQ_ID)}")
    if before is None:
        return "granted: the job has no time limit"
    deadline = time.monotonic() + SOON
    while (after := _left(trial) or 0) - before < _MORE / 2:
        if time.monotonic() > deadline:
            raise Wrong(f"{before} s were left before {_MORE} more were granted, and {after} s after it")
        time.sleep(_STEP)
    return f"{after} s are left"


def new_resources(trial: Trial) -> str | None:
    """Ask for a core, and give it back."""
    if trial.rank:
        return None
    wanted = [Info(a.ALLOC_NUM_CPUS, 1, DataType.UINT64), Info(a.ALLOC_REQ_ID, _REQUEST), Info(a.TIMEOUT, _WAIT)]
    try:
        answer = trial.client.allocate(_NEW, wanted)
    except (PmixOutOfResource, PmixTimeout) as error:
        return f"answered: {error}"
    name = find(answer, a.ALLOC_ID)
    if not isinstance(name, str):
        raise Wrong("what was allocated has no id")
    trial.client.allocate(_RELEASE, [Info(a.ALLOC_ID, name)])
    return f"as {name}"


def own_job(trial: Trial) -> str | None:
    """Spawn a process into resources of its own."""
    if trial.rank:
        return None
    wanted = [Info(a.ALLOC_NUM_CPUS, 1, DataType.UINT64, required=True), Info(a.SPAWN_TIMEOUT, _WAIT)]
    try:
        nspace = trial.client.spawn([AppSpec("true", ("true",))], wanted)
    except (PmixOutOfResource, PmixTimeout) as error:
        return f"answered: {error}"
    size = trial.client.get(a.JOB_SIZE, Proc(nspace, RANK_WILDCARD))
    if size != 1:
        raise Wrong(f"{nspace} was to have one process, and has {size}")
    return f"as {nspace}"


def _left(trial: Trial) -> int | None:
    """Return the seconds that this job has left; None: there is no limit, or nobody tells."""
    try:
        found = trial.client.query([QueryItem((a.TIME_REMAINING,), (Info(a.NSPACE, trial.client.proc.nspace),))])
    except PmixError:
        return None
    left = find(found, a.TIME_REMAINING)
    return left if isinstance(left, int) else None
