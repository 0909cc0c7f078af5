"""PMIx_Spawn. `operations.py` names these steps."""

from __future__ import annotations

from fluxpmix.cli.check.deaths import Wrong
from fluxpmix.cli.check.trying import Trial
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import PmixError, PmixOutOfResource, Status
from fluxpmix.pmix.types import RANK_WILDCARD, AppSpec, Proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


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
    if not trial.rank:
        spec = AppSpec("flux-pmix-no-such-command", ("flux-pmix-no-such-command",))
        _refused(trial, "a command that is not there", spec, Status.ERR_JOB_EXE_NOT_FOUND)


def spawn_nobody(trial: Trial) -> None:
    """Spawn no process at all: that has to fail."""
    if not trial.rank:
        _refused(trial, "no process", AppSpec("true", ("true",), maxprocs=0), Status.ERR_BAD_PARAM)


def spawn_contradiction(trial: Trial) -> None:
    """Spawn with two mappings: that has to fail."""
    if not trial.rank:
        mapped: dict[str, Any] = {a.MAPBY: "ppr:1:node", a.PPR: "2:node"}
        _refused(trial, "a job that is mapped in two ways", AppSpec("true", ("true",)), Status.ERR_BAD_PARAM, mapped)


def _refused(trial: Trial, what: str, spec: AppSpec, status: Status, directives: dict[str, Any] | None = None) -> None:
    """Spawn what cannot be. Raises what else comes than a refusal."""
    try:
        trial.client.spawn([spec], directives)
    except PmixOutOfResource:
        return
    except PmixError as error:
        if error.status not in (status, Status.ERR_JOB_FAILED_TO_LAUNCH, Status.ERR_JOB_FAILED_TO_MAP):
            raise
    else:
        raise Wrong(f"{what} was started")
