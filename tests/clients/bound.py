"""A task that prints as JSON: its rank, where the kernel lets it run, where PMIx says it does, and its GPUs."""

from __future__ import annotations

import json
import os
import sys

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError

with Client() as client:
    found: dict[str, object] = {"rank": client.proc.rank, "kernel": sorted(os.sched_getaffinity(0))}
    for key in (a.CPUSET, a.LOCALITY_STRING, a.DEVICE_DISTANCES):
        try:
            value = client.get(key, client.proc, {a.OPTIONAL: True})
        except PmixError:
            value = None
        if key == a.DEVICE_DISTANCES and value is not None:
            value = {each.osname: [each.mindist, each.maxdist] for each in value.items}
        found[key.name] = value
    found["visible"] = os.environ.get("CUDA_VISIBLE_DEVICES")
    sys.stdout.write(json.dumps(found) + "\n")
    client.fence()
