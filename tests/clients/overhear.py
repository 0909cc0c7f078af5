"""A process that spawns two others and pulls what they print: by name once they run, then it lets them go on.

It prints what came, sorted, under its own rank. Usage: overhear DIRECTORY.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from fluxpmix.pmix.client import Client
from fluxpmix.pmix.types import RANK_WILDCARD, AppSpec, Infos, IofChannel, Proc

CHILD = """
while ! test -e {go}; do sleep 0.02; done
echo one $PMIX_RANK; echo two $PMIX_RANK; echo error $PMIX_RANK >&2
while ! test -e {end}; do sleep 0.02; done
"""
go, end = Path(sys.argv[1]) / "go", Path(sys.argv[1]) / "end"
heard: list[str] = []
over = threading.Event()
expected = 6


def came(channel: IofChannel, source: Proc, data: bytes, _infos: Infos) -> None:
    heard.extend(f"{source.rank} {channel.name} {line}" for line in data.decode().splitlines())
    if len(heard) >= expected:
        over.set()


with Client() as client:
    text = CHILD.format(go=go, end=end)
    nspace = client.spawn([AppSpec("sh", ("sh", "-c", text), maxprocs=2)])
    client.iof_pull([Proc(nspace, RANK_WILDCARD)], IofChannel.STDOUT | IofChannel.STDERR, came)
    go.touch()
    over.wait(30)
    end.touch()
    os.write(1, "".join(f"heard {line}\n" for line in sorted(heard)).encode())
