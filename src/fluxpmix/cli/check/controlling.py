"""What processes have the system do: log, job control, credentials. `operations.py` names these steps."""

from __future__ import annotations

import os

from fluxpmix.cli.check.deaths import Wrong
from fluxpmix.cli.check.trying import Trial
from fluxpmix.pmix import attributes as a

_SIGCONT = 18  # harmless


def log(trial: Trial) -> None:
    """Log a line to stderr."""
    if not trial.rank:
        trial.client.log({a.LOG_STDERR: "flux-pmix check: this line came by PMIx_Log\n"})


def job_control(trial: Trial) -> None:
    """Send the job a signal that does no harm."""
    if not trial.rank:
        trial.client.job_control([trial.client.job], {a.JOB_CTRL_SIGNAL: _SIGCONT})


def pause(trial: Trial) -> str | None:
    """Pause the last rank, and resume it."""
    if trial.size < 2:
        return "needs 2 ranks"
    if not trial.rank:
        for action in (a.JOB_CTRL_PAUSE, a.JOB_CTRL_RESUME):
            trial.client.job_control([trial.proc(trial.size - 1)], {action: True})
    return None


def credential(trial: Trial) -> None:
    """Ask for a credential and have it validated."""
    client = trial.client
    found = client.validate_credential(client.credential())
    user = next((info.value for info in found if info.key == a.USERID), None)
    if user != os.geteuid():
        raise Wrong(f"the credential of user {os.geteuid()} is said to be of {user}")
