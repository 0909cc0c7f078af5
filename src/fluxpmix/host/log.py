"""PMIx_Log: write to a process's output, or to the job's log. Standard 4.2, section 12.4.

`host.py` hands over each Log upcall. Local syslog is not written here: libpmix does that itself, in this
very shell, before it asks. What is left are the channels of the job: standard output and error, which
get the text as if the process had printed it, and the job's log for its record. Others (mail, a data
store, a syslog of the whole system) are refused, and the job's log says why.
"""

from __future__ import annotations

from fluxpmix.host.capability import Capability
from fluxpmix.host.directory import Directory
from fluxpmix.host.effects import Effect, Level, Log, Output, Reply
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Info, Infos, find, is_true
from fluxpmix.pmix.upcalls import Log as LogUpcall

_STREAMS: dict[str, tuple[int, str]] = {attributes.LOG_STDOUT: (1, "stdout"), attributes.LOG_STDERR: (2, "stderr")}
# libpmix has written these already.
_DONE = (attributes.LOG_SYSLOG, attributes.LOG_LOCAL_SYSLOG)
_REFUSED: dict[str, str] = {
    attributes.LOG_GLOBAL_SYSLOG: "no node keeps a syslog for all: use PMIX_LOG_SYSLOG, which writes to the node's own",
    attributes.LOG_EMAIL: "no mail is sent from here",
    attributes.LOG_GLOBAL_DATASTORE: "there is no data store for logs: use PMIX_LOG_JOB_RECORD",
}
# What says how, and may stand among the data too.
_HOW = frozenset(
    (
        attributes.LOG_ONCE,
        attributes.LOG_SOURCE,
        attributes.LOG_TIMESTAMP,
        attributes.LOG_GENERATE_TIMESTAMP,
        attributes.LOG_TAG_OUTPUT,
        attributes.LOG_TIMESTAMP_OUTPUT,
        attributes.LOG_XML_OUTPUT,
        attributes.LOG_SYSLOG_PRI,
        attributes.LOG_MSG,
    )
)
_ESCAPES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"))


class Logs(Capability):
    """The log requests of one shell."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def upcall(self, upcall: LogUpcall, now: float, out: list[Effect]) -> None:
        """Write to each channel that is asked for, to the first only where PMIX_LOG_ONCE says so."""
        how = (*upcall.directives, *upcall.data)
        done, refused = 0, False
        for info in upcall.data:
            if info.key in _HOW:
                continue
            if self._write(info, how, upcall, out):
                done += 1
                if is_true(how, attributes.LOG_ONCE):
                    break
            else:
                refused = refused or info.required
        served = bool(done) and not refused
        out.append(Reply(upcall.id, Status.SUCCESS if served else Status.ERR_NOT_SUPPORTED))

    def _write(self, info: Info, how: Infos, upcall: LogUpcall, out: list[Effect]) -> bool:
        """Write to the channel that `info` names. Returns whether there is such a channel."""
        if info.key in _DONE:
            return True
        if info.key in _STREAMS and isinstance(info.value, str):
            stream, name = _STREAMS[info.key]
            text = decorated(info.value, name, how)
            out.append(Output(self._directory.number(upcall.proc), stream, text.encode("utf-8", "surrogateescape")))
            return True
        if info.key == attributes.LOG_JOB_RECORD and info.value is not False:
            message = find(how, attributes.LOG_MSG, b"")
            text = message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)
            out.append(Log(Level.NOTICE, f"rank {upcall.proc.rank}: {stamp(how)}{text}"))
            return True
        why = _REFUSED.get(info.key, "there is no such channel")
        out.append(Log(Level.WARNING, f"PMIx_Log of {info.key} by rank {upcall.proc.rank} is refused: {why}"))
        return False


def decorated(text: str, channel: str, how: Infos) -> str:
    """Return a text as its directives want it shown: with the time, the channel's name, or as XML; a whole line."""
    line = text.removesuffix("\n")
    if is_true(how, attributes.LOG_TIMESTAMP_OUTPUT):
        line = stamp(how) + line
    if is_true(how, attributes.LOG_XML_OUTPUT):
        for plain, escape in _ESCAPES:
            line = line.replace(plain, escape)
        return f"<{channel}>{line}</{channel}>\n"
    tag = f"[{channel}] " if is_true(how, attributes.LOG_TAG_OUTPUT) else ""
    return f"{tag}{line}\n"


def stamp(how: Infos) -> str:
    """Return the time that the request carries as text (UTC), with a space; empty where it has none."""
    seconds = find(how, attributes.LOG_TIMESTAMP)
    if type(seconds) is not int or not 0 < seconds < 1 << 37:
        return ""
    from datetime import datetime, timezone

    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%SZ} "
