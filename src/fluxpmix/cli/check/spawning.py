"""PMIx_Spawn. `operations.py` names these steps."""

from __future__ import annotations

from fluxpmix.cli.check.deaths import Wrong
from fluxpmix.cli.check.trying import Trial
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import PmixError, PmixOutOfResource, Status
from fluxpmix.pmix.types import RANK_WILDCARD, AppSpec, Proc


def spawn(trial: Trial) -> str | None:
    """Spawn one process, and get the size of its job."""
    if trial.rank:
        return None
    try:
        nspace = trial.client.spawn([AppSpec("true", ("true",))])
    except PmixOutOfResource:
        return "answered: there is no room for one more"
    size = trial.client.get(a.JOB_SIZE, Proc(nspace, RANK_WILDCARD))
    if size != 1:
        raise Wrong(f"{nspace} was to have one process, and has {size}")
    return f"as {nspace}"


def spawn_nothing(trial: Trial) -> None:
    """Spawn a command that is not there: that has to fail."""
    if trial.rank:
        return
    try:
        trial.client.spawn([AppSpec("flux-pmix-no-such-command", ("flux-pmix-no-such-command",))])
    except PmixOutOfResource:
        return
    except PmixError as error:
        if error.status not in (Status.ERR_JOB_EXE_NOT_FOUND, Status.ERR_JOB_FAILED_TO_LAUNCH):
            raise
    else:
        raise Wrong("a command that is not there was started")
