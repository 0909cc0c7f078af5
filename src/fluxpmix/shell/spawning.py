"""The steps of a spawned job's launch that are alike for every carrier; `base.py` has them done when the host says so.

Files that a request names are read here, in the shell of the process that asks: the host decides without any.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from fluxpmix.host.effects import Launch, Prepare, Register, Restart, Start
from fluxpmix.pmix import attributes
from fluxpmix.pmix.record import replace
from fluxpmix.pmix.status import PmixError, Status
from fluxpmix.pmix.types import Info, Infos, Proc
from fluxpmix.pmix.upcalls import Spawn
from fluxpmix.shell.local import tasks
from fluxpmix.shell.local.request import LaunchError
from fluxpmix.shell.variables import CHECKPOINT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.shell.carrier import Carrier
    from fluxpmix.shell.server import JobServer

SUCCESS = int(Status.SUCCESS)
_STATUSES = {tasks.NOT_FOUND: Status.ERR_JOB_EXE_NOT_FOUND, tasks.NOT_EXECUTABLE: Status.ERR_EXE_NOT_ACCESSIBLE}


class CannotStart(Exception):
    """A task of a spawned job cannot be started; `status` is what to answer."""

    def __init__(self, message: str, status: Status = Status.ERR_JOB_FAILED_TO_LAUNCH) -> None:
        super().__init__(message)
        self.status = status

    @classmethod
    def because(cls, message: str, exit_code: int) -> CannotStart:
        """Return the error for a command that a shell would end with `exit_code` for."""
        return cls(message, _STATUSES.get(exit_code, Status.ERR_JOB_FAILED_TO_LAUNCH))


def step(
    effect: Prepare | Register | Start, server: JobServer, carrier: Carrier, known: dict[int, Proc]
) -> tuple[bytes, int, str]:
    """Do a step. Returns what all shells must be told (of `Prepare`), the status, and why it is no success."""
    launch, packed = effect.launch, b""
    try:
        if isinstance(effect, Prepare):
            packed = server.setup_application(launch.job)
        elif isinstance(effect, Register):
            carrier.find_commands(launch)
            server.register_spawned(launch.job, effect.packed)
            known.update((number, proc) for number, proc in own(launch, carrier.rank))
        else:
            carrier.start_tasks(launch)
    except CannotStart as error:
        return b"", int(error.status), str(error)
    except PmixError as error:
        return b"", error.status, f"libpmix refused the job: {error}"
    except (OSError, ValueError) as error:
        return b"", int(Status.ERR_JOB_FAILED_TO_LAUNCH), f"{error}"
    return packed, SUCCESS, ""


def again(effect: Restart, server: JobServer, carrier: Carrier) -> tuple[int, str]:
    """Start a task again. Returns the status, and why it is no success."""
    checkpoint = {CHECKPOINT: effect.checkpoint} if effect.checkpoint else {}
    try:
        server.expect_again(effect.proc)
        carrier.restart_task(effect.number, {**server.task_environment(effect.proc), **checkpoint})
    except CannotStart as error:
        return int(error.status), str(error)
    except PmixError as error:
        return error.status, f"libpmix refused it: {error}"
    except (OSError, ValueError) as error:
        return int(Status.ERR_JOB_FAILED_TO_LAUNCH), f"{error}"
    return SUCCESS, ""


def own(launch: Launch, shell: int) -> Sequence[tuple[int, Proc]]:
    """Return the number and the name of each process of a spawned job on a shell, in the order of their ranks."""
    nspace, ranks = launch.job.nspace, launch.job.ranks(shell)
    return [(launch.first + rank, Proc(nspace, rank)) for rank in ranks]


def commands(launch: Launch, base: Mapping[str, str]) -> list[tuple[str, dict[str, str]]]:
    """Return the path and the environment of each application, made from the parent's. Raises `CannotStart`."""
    found = []
    for app, command in zip(launch.job.apps, launch.commands, strict=True):
        env = command.environment(dict(base))
        if not os.path.isdir(app.wdir):
            known = os.path.exists(app.wdir)
            status = Status.ERR_JOB_WDIR_NOT_ACCESSIBLE if known else Status.ERR_JOB_WDIR_NOT_FOUND
            raise CannotStart(f"{app.wdir} is no directory; name one that is there", status)
        try:
            found.append((tasks.find(command.command, env, app.wdir), env))
        except LaunchError as error:
            raise CannotStart.because(str(error), error.exit_code) from None
    return found


def variables(launch: Launch, rank: int, local_rank: int) -> dict[str, str]:
    """Return what tells a task which it is."""
    job = launch.job
    return {
        "FLUX_TASK_RANK": str(rank),
        "FLUX_TASK_LOCAL_ID": str(local_rank),
        "FLUX_JOB_SIZE": str(job.size),
        "FLUX_JOB_NNODES": str(len(job.nodes)),
    }


def with_hostfiles(upcall: Spawn) -> Spawn:
    """Return a request with the hosts in place of the files that name them. Raises OSError."""
    apps = tuple(replace(app, directives=_read(app.directives)) for app in upcall.apps)
    return Spawn(upcall.id, upcall.proc, _read(upcall.directives), apps)


def _read(infos: Infos) -> Infos:
    return tuple(
        Info(attributes.HOST, _hosts(info.value)) if info.key == attributes.HOSTFILE else info for info in infos
    )


def _hosts(path: str) -> str:
    """Return the hosts in a file: a name a line, perhaps with `slots=N`, and comments."""
    hosts = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            name, *words = line.partition("#")[0].split() or [""]
            limit = next((word.partition("=")[2] for word in words if word.startswith("slots=")), "")
            if name:
                hosts.append(f"{name}:{limit}" if limit else name)
    return ",".join(hosts)
