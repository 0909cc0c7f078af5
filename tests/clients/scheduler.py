"""A task that asks for queues and allocations: "key queue-or-job" for each argument, and prints what comes."""

from __future__ import annotations

import sys

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, describe
from fluxpmix.pmix.types import Info, QueryItem

QUALIFIERS = {"QUEUE_STATUS": a.ALLOC_QUEUE, "ALLOC_STATUS": a.ALLOC_REQ_ID}

with Client() as client:
    for question in sys.argv[1:]:
        name, _, subject = question.partition(" ")
        qualifiers = (Info(QUALIFIERS[name], subject),) if subject else ()
        try:
            (found,) = client.query([QueryItem((getattr(a, f"QUERY_{name}"),), qualifiers)])
            said = found.value
        except PmixError as error:
            said = describe(error.status)
        sys.stdout.write(f"{question}: {said}\n")
