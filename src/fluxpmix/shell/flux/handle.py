"""A Flux handle with a Python face: requests, services, the reactor, as `flux_t` has them.

A thin layer: no pointer of Flux leaves this module and `api.py` but as an opaque token. Everything here belongs to
the thread of the handle's reactor except `Wake.post`. Manual pages: flux_rpc(3), flux_respond(3), flux_reactor(3).
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable

from fluxpmix.host.effects import Buffer, Level

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_INPUT, _NO_RESPONSE, _STREAMING = 1, 1, 2  # FLUX_POLLIN, FLUX_RPC_NORESPONSE, FLUX_RPC_STREAMING
ANY_BROKER = 0xFFFFFFFF  # FLUX_NODEID_ANY
_URGENCY = 16  # as flux submit has it
_SMALL = 1 << 14  # bytes; a larger payload is not copied
_COMPLAINTS = 20  # about messages that are refused, in the log; all of them are refused


class ShellError(Exception):
    """flux-shell refuses; the text says what."""


class Request:
    """A message to this shell's service, still to be answered where its sender wants an answer."""

    __slots__ = ("_api", "_message", "payload")

    def __init__(self, api: Handle, message: Any, payload: Buffer) -> None:
        self._api = api
        self._message = message
        self.payload = payload

    def respond(self, payload: bytes = b"") -> None:
        """Answer with success."""
        self._api.lib.flux_respond_raw(self._api.handle, self._message, payload, len(payload))

    def refuse(self, code: int, text: str) -> None:
        """Answer with an error."""
        self._api.lib.flux_respond_error(self._api.handle, self._message, code, text.encode())

    def keep(self) -> Request:
        """Return it for an answer after the handler has returned; to be given up by `drop`."""
        return Request(self._api, self._api.lib.flux_msg_incref(self._message), self.payload)

    def drop(self) -> None:
        """Give up a kept request."""
        self._api.lib.flux_msg_decref(self._message)


class Handle:
    """A connection to Flux, of whoever runs its reactor."""

    def __init__(self, ffi: Any, lib: Any, handle: Any) -> None:
        self.ffi = ffi
        self.lib = lib
        self.handle = handle
        self._kept: list[Any] = []  # handles that C holds
        self._complaints = 0
        self._answers: dict[int, Callable[[int, bytes], None]] = {}
        self._streams: dict[int, tuple[Any, Callable[[bytes], None], Callable[[int], None]]] = {}
        self.on_error: Callable[[BaseException], None] = self._show
        ffi.def_extern("fluxpmix_request")(self._request)
        ffi.def_extern("fluxpmix_answer")(self._answer)
        ffi.def_extern("fluxpmix_streamed")(self._streamed)
        ffi.def_extern("fluxpmix_ready")(self._ready)

    def log(self, level: Level, message: str) -> None:
        """Say something where whoever runs this is heard."""
        raise NotImplementedError

    def attribute(self, name: str) -> str | None:
        """Return a broker attribute; asks the broker."""
        return self._text(self.lib.flux_attr_get(self.handle, name.encode()))

    def complain(self, message: str) -> None:
        """Log a warning about what somebody sent; not more of them than a person reads."""
        self._complaints += 1
        if self._complaints <= _COMPLAINTS:
            self.log(Level.WARNING, message)

    # -- messages --------------------------------------------------------------------------------

    def serve(self, topic: bytes, call: Callable[[Request], None]) -> None:
        """Answer requests of the job's owner, or the instance's, to this shell's service; others are refused."""
        if self.lib.serve_topic(self.handle, topic, self.lib.fluxpmix_request, self._handle(call)) < 0:
            raise ShellError(f"cannot serve {topic.decode()}: {os.strerror(self.ffi.errno)}")

    def send(self, topic: bytes, broker: int, payload: bytes) -> None:
        """Send a request that nobody answers."""
        lib = self.lib
        future = lib.flux_rpc_raw(self.handle, topic, payload, len(payload), broker, _NO_RESPONSE)
        if not future:
            raise ShellError(f"cannot send {len(payload)} bytes to broker {broker}: {os.strerror(self.ffi.errno)}")
        lib.flux_future_destroy(future)

    def call(self, topic: bytes, broker: int, payload: bytes, done: Callable[[int, bytes], None]) -> None:
        """Send a request; of the answer `done(error, payload)` gets 0 and what it holds, or an errno and why."""
        lib, ffi = self.lib, self.ffi
        future = lib.flux_rpc_raw(self.handle, topic, payload, len(payload), broker, 0)
        if not future or lib.flux_future_then(future, -1.0, lib.fluxpmix_answer, ffi.NULL) < 0:
            raise ShellError(f"cannot call broker {broker}: {os.strerror(ffi.errno)}")
        self._answers[int(ffi.cast("uintptr_t", future))] = done

    def ask(self, topic: bytes, broker: int, payload: bytes) -> tuple[int, bytes]:
        """Send a request and wait for its answer, before there is a reactor: 0 and what it holds, or errno and why."""
        future = self.lib.flux_rpc_raw(self.handle, topic, payload, len(payload), broker, 0)
        if not future:
            return int(self.ffi.errno), b""
        try:
            return self._answered(future)
        finally:
            self.lib.flux_future_destroy(future)

    def submit(self, jobspec: str, done: Callable[[int, bytes], None]) -> None:
        """Submit a job to the instance that this one runs in; `done` as in `call`: {"id"}, or what is wrong."""
        lib, ffi = self.lib, self.ffi
        future = lib.flux_job_submit(self.handle, jobspec.encode(), _URGENCY, 0)
        if not future or lib.flux_future_then(future, -1.0, lib.fluxpmix_answer, ffi.NULL) < 0:
            raise ShellError(f"cannot submit a job: {os.strerror(ffi.errno)}")
        self._answers[int(ffi.cast("uintptr_t", future))] = done

    def stream(self, topic: bytes, payload: bytes, came: Callable[[bytes], None], ended: Callable[[int], None]) -> Any:
        """Ask a service of the broker's that answers again and again: `came(answer)`, and at last `ended(errno)`.

        Returns what `stop_stream` wants.
        """
        lib, ffi = self.lib, self.ffi
        future = lib.flux_rpc_raw(self.handle, topic, payload, len(payload), ANY_BROKER, _STREAMING)
        if not future or lib.flux_future_then(future, -1.0, lib.fluxpmix_streamed, ffi.NULL) < 0:
            raise ShellError(f"cannot ask {topic.decode()}: {os.strerror(ffi.errno)}")
        self._streams[int(ffi.cast("uintptr_t", future))] = (future, came, ended)
        return future

    def stop_stream(self, future: Any) -> None:
        """Take no more of the answers to `stream`."""
        if self._streams.pop(int(self.ffi.cast("uintptr_t", future)), None) is not None:
            self.lib.flux_future_destroy(future)

    def wait_for_request(self, topic: bytes, timeout: float, call: Callable[[Request], None]) -> bool:
        """Wait for one request, before there is a reactor, and handle it as `serve` does. False: none has come."""
        message = self.lib.wait_for_request(self.handle, topic, timeout)
        if not message:
            return False
        try:
            self._receive(message, call)
        finally:
            self.lib.flux_msg_decref(message)
        return True

    # -- the reactor -----------------------------------------------------------------------------

    def watch(self, fd: int, call: Callable[[], None]) -> Any:
        """Have `call` run when `fd` can be read; returns what `stop_watching` wants."""
        lib = self.lib
        reactor = lib.flux_get_reactor(self.handle)
        watcher = lib.flux_fd_watcher_create(reactor, fd, _INPUT, lib.fluxpmix_ready, self._handle(call))
        if not watcher:
            raise ShellError("cannot watch a descriptor")
        lib.flux_watcher_start(watcher)
        return watcher

    def pause(self, watcher: Any, paused: bool) -> None:
        """Do not run what `watch` was given for a while, or again."""
        (self.lib.flux_watcher_stop if paused else self.lib.flux_watcher_start)(watcher)

    def on_signal(self, signum: int, call: Callable[[], None]) -> Any:
        """Have `call` run, beside what flux-shell does, when it gets a signal; returns what `stop_watching` wants."""
        lib = self.lib
        reactor = lib.flux_get_reactor(self.handle)
        watcher = lib.flux_signal_watcher_create(reactor, signum, lib.fluxpmix_ready, self._handle(call))
        if not watcher:
            raise ShellError(f"cannot watch for signal {signum}")
        lib.flux_watcher_start(watcher)
        return watcher

    def timer(self, call: Callable[[], None]) -> Any:
        """Return a timer that runs `call`, for `set_timer`."""
        lib = self.lib
        reactor = lib.flux_get_reactor(self.handle)
        watcher = lib.flux_timer_watcher_create(reactor, 0.0, 0.0, lib.fluxpmix_ready, self._handle(call))
        if not watcher:
            raise ShellError("cannot make a timer")
        return watcher

    def set_timer(self, timer: Any, seconds: float | None) -> None:
        """Run the timer once, `seconds` from now; None: not at all."""
        lib = self.lib
        lib.flux_watcher_stop(timer)
        if seconds is not None:
            lib.flux_timer_watcher_reset(timer, max(seconds, 0.0), 0.0)
            lib.flux_watcher_start(timer)

    def stop_watching(self, watcher: Any) -> None:
        """Destroy a watcher or a timer."""
        self.lib.flux_watcher_destroy(watcher)

    # -- what Flux calls -------------------------------------------------------------------------

    def _request(self, _handle: Any, _handler: Any, message: Any, data: Any) -> None:
        self._receive(message, self.ffi.from_handle(data))

    def _receive(self, message: Any, call: Callable[[Request], None]) -> None:
        request = Request(self, message, b"")
        try:
            if self.lib.flux_msg_authorize(message, os.getuid()) < 0:
                user = self.ffi.new("uint32_t *")
                self.lib.flux_msg_get_userid(message, user)
                self.complain(f"refused a message of user {user[0]} to the job's service: it is user {os.getuid()}'s")
                request.refuse(errno.EPERM, "the job is another user's")
                return
            request.payload = self._payload(message)
            call(request)
        except BaseException as error:
            self.on_error(error)
            request.refuse(errno.EPROTO, "the request could not be served")

    def _answer(self, future: Any, _data: Any) -> None:
        done = self._answers.pop(int(self.ffi.cast("uintptr_t", future)), None)
        code, payload = self._answered(future)
        self.lib.flux_future_destroy(future)
        if done is not None:
            self._guarded(lambda: done(code, payload))

    def _streamed(self, future: Any, _data: Any) -> None:
        key = int(self.ffi.cast("uintptr_t", future))
        code, payload = self._answered(future)
        if code:
            _, _, ended = self._streams.pop(key)
            self.lib.flux_future_destroy(future)
            self._guarded(lambda: ended(code))
            return
        self.lib.flux_future_reset(future)
        self._guarded(lambda: self._streams[key][1](payload))

    def _answered(self, future: Any) -> tuple[int, bytes]:
        """Return the errno of an answer, and what it holds, or what is wrong."""
        data, size = self.ffi.new("const void **"), self.ffi.new("size_t *")
        if self.lib.flux_rpc_get_raw(future, data, size) < 0:
            code = int(self.ffi.errno)
            return code, (self._text(self.lib.flux_future_error_string(future)) or "").encode()
        return 0, bytes(self.ffi.buffer(data[0], size[0])) if size[0] else b""

    def _ready(self, _reactor: Any, _watcher: Any, _events: int, data: Any) -> None:
        self._guarded(self.ffi.from_handle(data))

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:
            self.on_error(error)

    # -- inside ----------------------------------------------------------------------------------

    def _show(self, error: BaseException) -> None:
        self.log(Level.ERROR, f"{type(error).__name__}: {error}")

    def _handle(self, call: Callable[..., None]) -> Any:
        handle = self.ffi.new_handle(call)
        self._kept.append(handle)
        return handle

    def _payload(self, message: Any) -> Buffer:
        """Return a request's payload: small ones copied, large ones as they lie, with the message kept for them."""
        ffi, lib = self.ffi, self.lib
        data, size = ffi.new("const void **"), ffi.new("size_t *")
        if self.lib.flux_request_decode_raw(message, ffi.NULL, data, size) < 0:
            raise ShellError(f"a request that cannot be decoded: {os.strerror(ffi.errno)}")
        if size[0] <= _SMALL:
            return bytes(ffi.buffer(data[0], size[0])) if size[0] else b""
        kept = lib.flux_msg_incref(message)
        place = ffi.gc(ffi.cast("char *", data[0]), lambda _: lib.flux_msg_decref(kept))
        return memoryview(ffi.buffer(place, size[0]))

    def _owned(self, text: Any) -> str | None:
        """Take text that is ours to free."""
        if not text:
            return None
        try:
            return self._text(text)
        finally:
            self.lib.free(text)

    def _text(self, text: Any) -> str | None:
        return self.ffi.string(text).decode(errors="surrogateescape") if text else None


class Wake:
    """Runs calls on the shell's thread that were posted on any other, `before` ahead of each round of them."""

    def __init__(self, api: Handle, before: Callable[[], None]) -> None:
        self._api = api
        self._before = before
        self._calls: deque[Callable[[], None]] = deque()
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._watcher = api.watch(self._fd, self._run)

    def post(self, call: Callable[[], None]) -> None:
        """Run `call` soon."""
        self._calls.append(call)
        if self._fd >= 0:
            os.eventfd_write(self._fd, 1)

    def close(self) -> None:
        """Run what is left and stop."""
        self._drain()
        self._api.stop_watching(self._watcher)
        fd, self._fd = self._fd, -1
        os.close(fd)

    def _run(self) -> None:
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return
        self._drain()

    def _drain(self) -> None:
        self._api._guarded(self._before)
        while self._calls:
            self._api._guarded(self._calls.popleft())
