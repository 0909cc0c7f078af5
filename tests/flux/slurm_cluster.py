"""A real Slurm on loopback, for tests: one controller and eight nodes on this machine, in a directory of its own.

Each slurmd runs in a UTS namespace with a host name of its own, so that Slurm and libpmix take them for
machines. Needs root, Debian's slurmctld, slurmd and slurm-client, and munge, of which it starts one with a
key of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

NODES = 8
CPUS = 4  # of each node, as far as Slurm knows
PATIENCE = 30.0  # seconds for all to be up
PROGRAMS = ("slurmctld", "slurmd", "srun", "munged", "unshare")

CONFIG = """
ClusterName=fluxpmix
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={directory}/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool-%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/%n.pid
TmpFS={directory}/tmp-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
NodeName=n[0-{last}] NodeHostname=n[0-{last}] NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cpus}
PartitionName=all Nodes=ALL Default=YES State=UP OverSubscribe=FORCE:8
"""


class Unavailable(Exception):
    """Slurm cannot be brought up here; the text says why."""


class Slurm:
    """One controller and its nodes, up. Raises `Unavailable`."""

    def __init__(self) -> None:
        missing = [name for name in PROGRAMS if _which(name) is None]
        if missing:
            raise Unavailable(f"{', '.join(missing)} not found (Debian: slurmctld, slurmd, slurm-client, munge)")
        if os.geteuid():
            raise Unavailable("needs root")
        self.directory = Path(tempfile.mkdtemp(prefix="fpmix-"))  # short: sockets lie below it
        self._daemons: list[subprocess.Popen[bytes]] = []
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def srun(self, *words: str) -> list[str]:
        """Return the command of a step with Slurm's PMIx."""
        return ["srun", "--mpi=pmix", "--immediate=60", *words]

    def environment(self) -> dict[str, str]:
        """Return what Slurm's commands need to find this one."""
        return {"SLURM_CONF": str(self.directory / "slurm.conf")}

    def close(self) -> None:
        """End all steps and daemons."""
        if len(self._daemons) > 2 and self._daemons[1].poll() is None:
            subprocess.run(["scancel", f"--user={os.getuid()}"], env=self._environment(), capture_output=True)
            with contextlib.suppress(Unavailable):
                self._until(lambda: not self._listed("squeue", "--noheader"), "steps are left")
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in self._daemons:
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    # -- inside ------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.directory.chmod(0o711)  # munged wants its socket to be in reach of everybody
        for name in ("state", *(f"tmp-n{node}" for node in range(NODES))):
            (self.directory / name).mkdir()
        first, *rest = _free_ports(1 + NODES)
        settings = {"host": socket.gethostname().partition(".")[0], "directory": self.directory, "last": NODES - 1}
        text = CONFIG.format(ports=(first, f"[{','.join(map(str, rest))}]"), cpus=CPUS, **settings)
        (self.directory / "slurm.conf").write_text(text)
        key = self.directory / "munge-key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        files = {"key-file": key, "socket": self.directory / "munge"}
        files |= {f"{name}-file": self.directory / f"munge-{name}" for name in ("pid", "log", "seed")}
        self._daemon("munged", "--foreground", *(f"--{name}={path}" for name, path in files.items()))
        self._until(lambda: files["socket"].exists(), "munged does not start")
        self._daemon("slurmctld", "-D")
        for node in range(NODES):
            script = f"hostname n{node} && exec {_which('slurmd')} -D -N n{node}"
            self._daemon("unshare", "--uts", "sh", "-c", script)
        sinfo = ("sinfo", "--noheader", "--Node", "--states=idle")
        self._until(lambda: len(self._listed(*sinfo)) == NODES, "the nodes do not come up")
        if not any("pmix" in line for line in self._listed("srun", "--mpi=list")):
            raise Unavailable("this Slurm has no PMIx plugin: srun --mpi=list does not name pmix")

    def _environment(self) -> dict[str, str]:
        return os.environ | self.environment()

    def _daemon(self, program: str, *words: str) -> None:
        command = [_which(program) or program, *words]
        with open(self.directory / f"{program}-{len(self._daemons)}.log", "wb") as log:
            self._daemons.append(
                subprocess.Popen(
                    command,
                    env=self._environment(),
                    cwd=self.directory,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )

    def _listed(self, *words: str) -> list[str]:
        return subprocess.run(words, env=self._environment(), capture_output=True, text=True).stdout.splitlines()

    def _until(self, what: Callable[[], bool], why: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not what():
            dead = [each for each in self._daemons if each.poll() is not None]
            if dead or time.monotonic() > deadline:
                said = [line for log in self.directory.glob("*.log") for line in log.read_text().splitlines()]
                raise Unavailable(f"{why}: {next((line for line in said if 'rror' in line), 'no reason given')}")
            time.sleep(0.1)


def _which(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return sorted(each.getsockname()[1] for each in sockets)
    finally:
        for each in sockets:
            each.close()
