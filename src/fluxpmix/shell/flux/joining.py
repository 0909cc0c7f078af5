"""How the shells of a Flux job that a process has spawned join those that are there, before their tasks start.

`plugin.py` keeps the `Facts` of its job. The first shell asks (`jobs.py` says whom and what), and passes the answer on
to the job's other shells; each makes its driver from it.
"""

from __future__ import annotations

from collections.abc import Callable

from fluxpmix.host.effects import Place
from fluxpmix.pmix.record import Record
from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.mail import Mail
from fluxpmix.shell.flux.options import Parent
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

    def jobs(self, driver: Driver, lost: Callable[[int, str], None]) -> FluxJobs:
        """Return what submits jobs from here, and watches others."""
        from fluxpmix.shell.flux.jobs import FluxJobs

        return FluxJobs(self.api, self.mail, driver, self.place, {"fanout": self.fanout}, lost)

    def join(self, rank: int, patience: float) -> World:
        """Wait to be told what this job joins, as its shell `rank`. Raises `ShellError` after `patience` seconds."""
        from fluxpmix.host.submission import Arrival
        from fluxpmix.host.world import World
        from fluxpmix.shell.flux.jobs import ask

        assert self.parent is not None
        peers = self.mail.peers
        peers.await_world()
        if rank == 0:
            arrival = Arrival(self.job.nspace, self.place, self.job.nodes, self.job.taskmap)
            ask(self.api, self.parent.service, self.parent.broker, arrival, self.parent.ticket)
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
