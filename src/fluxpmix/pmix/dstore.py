"""Room for one client more in the shared memory of a libpmix 4.2, whose locks are counted.

`Server.expect_again` calls it for a process that starts again. 4.2 keeps what clients read in shared memory ("ds21"),
with as many locks as a node has processes: each client takes a free one when it connects, and none ever gives its own
back. One client more finds none, and reads nothing of any process. So one lock is marked as free: two clients share
it then, which costs them a wait, and no more, as it is a lock for several processes. From 5.0 on nobody has this.

The file is `smlockseg-NAMESPACE`: its size, the number of locks, an alignment, where the locks are (8 bytes each, the
number 4 and as many of padding), then for each lock 4 bytes: whether it is taken.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from struct import Struct

from fluxpmix.pmix.light import suppress

_DIRECTORY = "PMIX_DSTORE_21_BASE_PATH"
_HEADER = Struct("@NIxxxxNN")


def make_room(variables: Mapping[str, str], nspace: str) -> None:
    """Let one client more of a namespace in; `variables` are those that a client gets. No harm where there is room."""
    directory = variables.get(_DIRECTORY)
    if directory is None:
        return
    with suppress(FileNotFoundError), open(os.path.join(directory, f"smlockseg-{nspace}"), "r+b", buffering=0) as file:
        size, locks, _, start = _HEADER.unpack(file.read(_HEADER.size))
        if size == os.fstat(file.fileno()).st_size and _HEADER.size + 4 * locks <= start:
            file.write(bytes(4))
