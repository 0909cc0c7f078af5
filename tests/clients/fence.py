"""A task that puts its rank, fences with collection, and reads everybody's.

What it puts is random behind its first byte: where libpmix has zlib it makes small what can be.
"""

from __future__ import annotations

import os
import sys

from fluxpmix.pmix import attributes
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.types import RANK_WILDCARD, Proc, Scope

with Client() as client:
    size = client.get(attributes.JOB_SIZE, Proc(client.proc.nspace, RANK_WILDCARD))
    blob = bytes([client.proc.rank % 256]) + os.urandom(int(sys.argv[1]) - 1) if len(sys.argv) > 1 else b"x"
    for turn in range(3):
        client.put(Scope.GLOBAL, f"turn-{turn}", blob)
        client.commit()
        client.fence(collect=True)
        for rank in range(size):
            found = client.get(f"turn-{turn}", Proc(client.proc.nspace, rank))
            assert len(found) == len(blob) and found[0] in (rank % 256, ord("x")), (rank, found[:10])
    client.fence()
