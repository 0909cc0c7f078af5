"""A process that spawns others which read their input, and pushes some to them: to each what the arguments say.

Usage: feeds COUNT[:TYPE:RANK] SPEC..., where a SPEC is RANK=TEXT, RANK=#N for a line of N bytes, or RANK= for the end;
a rank of `*` is all of them, of `**` also all of its own job. The first RANK is PMIX_STDIN_TGT, as a value of the TYPE.
It prints each push's status, under its own rank, and waits for the end of what it has spawned. A spec of @PATH waits
for a file to be there, +PATH makes one, !RANK restarts one. FEEDS_CHILD is the shell's text that is spawned.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, Status, describe
from fluxpmix.pmix.types import RANK_WILDCARD, AppSpec, DataType, Info, Proc

READS = 'while read line; do echo "$PMIX_RANK read $line"; done; echo "$PMIX_RANK at the end"'
CHILD = os.environ.get("FEEDS_CHILD", READS)
over = threading.Event()

with Client() as client:
    client.register_event_handler([Status.EVENT_JOB_END], lambda *_: over.set())
    count, _, target = sys.argv[1].partition(":")
    spec = AppSpec("sh", ("sh", "-c", CHILD), maxprocs=int(count))
    wanted = [Info(a.NOTIFY_COMPLETION, True), Info(a.FWD_STDIN, True)]
    if target:
        kind, _, text = target.partition(":")
        rank = RANK_WILDCARD if text == "*" else int(text)
        value = Proc(client.proc.nspace, rank) if kind == "PROC" else rank
        wanted.append(Info(a.STDIN_TGT, value, DataType[kind], required=True))
    try:
        nspace = client.spawn([spec], wanted)
    except PmixError as error:
        os.write(1, f"{describe(error.status)}\n".encode())
        os._exit(0)
    for word in sys.argv[2:]:
        if word.startswith("@"):
            while not os.path.exists(word[1:]):
                time.sleep(0.02)
            continue
        if word.startswith("+"):
            open(word[1:], "w").close()
            continue
        if word.startswith("!"):
            client.job_control([Proc(nspace, int(word[1:]))], {a.JOB_CTRL_RESTART: ""})
            continue
        to, _, text = word.partition("=")
        data = b"x" * (int(text[1:]) - 1) + b"\n" if text.startswith("#") else f"{text}\n".encode() if text else b""
        targets = [Proc(nspace, int(to) if to.isdigit() else RANK_WILDCARD)]
        if to == "**":
            targets.append(client.job)
        try:
            client.iof_push(targets, data)
            said = "SUCCESS"
        except PmixError as error:
            said = describe(error.status)
        os.write(1, f"{word}: {said}\n".encode())
    over.wait(30)
