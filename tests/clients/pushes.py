"""A process that pushes input to others of its job, and prints what becomes of each push.

Usage: pushes WORD...: TARGETS=TEXT pushes a line to these ranks (as 1,3, or * for all), TARGETS=#N one of N bytes,
TARGETS= the end; @PATH waits for a file to be there, +PATH makes one.
"""

from __future__ import annotations

import os
import sys
import time

from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, describe
from fluxpmix.pmix.types import RANK_WILDCARD, Proc


def line(text: str) -> bytes:
    if not text.startswith("#"):
        return f"{text}\n".encode() if text else b""
    return b"x" * (int(text[1:]) - 1) + b"\n"


with Client() as client:
    for word in sys.argv[1:]:
        if word.startswith("@"):
            while not os.path.exists(word[1:]):
                time.sleep(0.02)
            continue
        if word.startswith("+"):
            open(word[1:], "w").close()
            continue
        targets, _, text = word.partition("=")
        ranks = [RANK_WILDCARD] if targets == "*" else map(int, targets.split(","))
        try:
            client.iof_push([Proc(client.proc.nspace, rank) for rank in ranks], line(text))
            said = "PMIX_SUCCESS"
        except PmixError as error:
            said = describe(error.status)
        os.write(1, f"{word} {said}\n".encode())
