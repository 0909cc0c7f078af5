"""How much memory processes have: what `Driver` tells a host that asks for it (`effects.Measure`)."""

from __future__ import annotations

import os

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident(pid: int | None = None) -> int:
    """Return the bytes of memory that a process (None: this one) has in use; 0 for one that is gone."""
    try:
        with open(f"/proc/{pid or 'self'}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0
