"""Credentials: who is who, and who pretends. `operations.py` names these steps. Standard 4.2, chapter 14."""

from __future__ import annotations

import os

from fluxpmix.cli.check.deaths import Wrong
from fluxpmix.cli.check.exchanging import far
from fluxpmix.cli.check.trying import Trial
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import PmixError, PmixNotSupported
from fluxpmix.pmix.types import Scope, find

_KEY = "check.credential"


def credential(trial: Trial) -> None:
    """Ask for a credential, and have it validated."""
    client = trial.client
    user = find(client.validate_credential(client.credential()), a.USERID)
    if user != os.geteuid():
        raise Wrong(f"the credential of user {os.geteuid()} is said to be of {user}")


def show(trial: Trial) -> None:
    """Put a credential where another rank finds it."""
    trial.client.put(Scope.GLOBAL, _KEY, trial.client.credential())
    trial.client.commit()


def validate(trial: Trial) -> None:
    """Have that of a rank half a job away validated, on another node where there is one, and a forged one refused."""
    client, other = trial.client, far(trial)
    shown: bytes = client.get(_KEY, other)
    user = find(client.validate_credential(shown), a.USERID)
    if user != os.geteuid():
        raise Wrong(f"the credential of rank {other.rank}, of user {os.geteuid()}, is said to be of {user}")
    middle = len(shown) // 2
    forged = shown[:middle] + bytes(65 + byte % 25 for byte in shown[middle : middle + 4]) + shown[middle + 4 :]
    if forged == shown:
        return
    try:
        client.validate_credential(forged)
    except PmixNotSupported:
        raise
    except PmixError:
        return
    raise Wrong(f"a credential of rank {other.rank} that was changed on the way is valid")
