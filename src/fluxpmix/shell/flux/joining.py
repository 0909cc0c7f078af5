"""How the shells of a Flux job join those that are there, before their tasks start: of one that a process has spawned,
or that somebody has started by hand to join another (-o pmix.join=JOB).

`plugin.py` keeps the `Facts` of its job. The first shell asks (`jobs.py` says whom and what), and passes the answer on
to the job's other shells; each makes its driver from it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from errno import ENOENT

from fluxpmix.host.effects import Place
from fluxpmix.job import jobid
from fluxpmix.pmix.record import Record
from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.handle import ANY_BROKER, ShellError
from fluxpmix.shell.flux.jsontext import loads
from fluxpmix.shell.flux.mail import Mail
from fluxpmix.shell.flux.options import Parent
from fluxpmix.shell.flux.resources import cores_of
from fluxpmix.shell.flux.service import SETUP, WELCOME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.host.world import World
    from fluxpmix.job.model import Job
    from fluxpmix.shell.base import Driver
    from fluxpmix.shell.flux.jobs import FluxJobs
    from fluxpmix.shell.server import Site


class Facts(Record):
    """What the plugin found at shell.init; `make(job=, site=, world=)` makes the shell's driver."""

    api: Shell
    mail: Mail
    job: Job
    place: Place
    site: Site
    xml: str
    fanout: int
    parent: Parent | None
    make: Callable[..., Driver]

    def jobs(self, driver: Driver, lost: Callable[[int, str], None], own_task: Callable[[], int | None]) -> FluxJobs:
        """Return what submits jobs from here, and watches others; `own_task` is `SpawnedOutput`'s."""
        from fluxpmix.shell.flux.jobs import FluxJobs

        return FluxJobs(self.api, self.mail, driver, self.place, {"fanout": self.fanout}, lost, own_task)

    def join(self, rank: int, patience: float) -> World:
        """Wait to be told what this job joins, as its shell `rank`. Raises `ShellError` after `patience` seconds."""
        from fluxpmix.host.submission import Arrival
        from fluxpmix.host.world import World, pack_apps
        from fluxpmix.shell.flux.jobs import ask

        assert self.parent is not None
        peers = self.mail.peers
        peers.await_world()
        if rank == 0:
            arrival = Arrival(self.job.nspace, self.place, self.job.nodes, self.job.taskmap)
            ask(self.api, self.parent, arrival, pack_apps(self.job.apps))
            word = bytes(peers.wait_for(WELCOME, patience))
            for shell in range(1, len(self.place.brokers)):
                peers.send(shell, SETUP, (word,))
        else:
            word = bytes(peers.wait_for(SETUP, patience))
        world = World.decode(word)
        self.mail.join(world.own.base, world.place.service, world.place.brokers)
        for launch in world.launches:
            if launch.place is not None:
                self.mail.add(launch.base, launch.place.service, launch.place.brokers)
        return world


def find(api: Shell, job: int, service: str) -> Parent:
    """Return where a running job is asked by one that wants to join it; `service` is the asker's.

    Raises `ShellError` where there is no such job, or it does not run.
    """
    from json import dumps

    name = jobid.encode(job)
    code, answer = api.ask(
        b"job-info.lookup", ANY_BROKER, dumps({"id": job, "keys": ["R"], "flags": 0}).encode() + b"\0"
    )
    if code:
        why = "there is no such job of yours, or it has no resources yet" if code == ENOENT else os.strerror(code)
        raise ShellError(f"-o pmix.join={name}: {why}; flux jobs shows those that run")
    brokers = cores_of(loads(loads(answer.rstrip(b"\0").decode())["R"]))
    owner, _, _ = service.partition("-shell-")
    return Parent(f"{owner}-shell-{name}", min(brokers), 0)
