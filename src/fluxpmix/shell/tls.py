"""A `Stream` inside TLS 1.3, and the identity that all shells of a job share to know each other by.

Used by `flux/lateral.py`. The identity is a certificate and its key, made for this job and given to its shells
over a way that is trusted already; each end of a connection shows that it has the key, and takes no other
certificate for good. ssl is Python's; the certificate is made by `cryptography`, an optional dependency.
"""

from __future__ import annotations

import os
import ssl
from collections import deque
from collections.abc import Callable
from socket import IPPROTO_TCP, TCP_NODELAY, socket

from fluxpmix.shell.local.reactor import READ, WRITE
from fluxpmix.shell.stream import Stream, Watches

_RECORD = 1 << 14  # bytes that TLS sends at a time
_BOUNDARY = b"-----BEGIN CERTIFICATE-----"  # PEM: the key is before it


def new_identity() -> bytes:
    """Return a new key and its certificate, as PEM. Raises ImportError without `cryptography`."""
    from datetime import datetime, timedelta, timezone

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fluxpmix job")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))  # the nodes' clocks may differ
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return text + certificate.public_bytes(Encoding.PEM)


class Identity:
    """What `new_identity` made, in use at both ends of connections. Raises ssl.SSLError (OSError)."""

    def __init__(self, pem: bytes) -> None:
        certificate = pem[pem.index(_BOUNDARY) :] if _BOUNDARY in pem else b""
        fd = os.memfd_create("fluxpmix")  # ssl wants a file: this one has no name
        try:
            os.write(fd, pem)
            self._client = self._context(ssl.PROTOCOL_TLS_CLIENT, f"/proc/self/fd/{fd}", certificate)
            self._server = self._context(ssl.PROTOCOL_TLS_SERVER, f"/proc/self/fd/{fd}", certificate)
        finally:
            os.close(fd)
        self._server.num_tickets = 0

    def wrap(self, sock: socket, opened: bool) -> ssl.SSLSocket:
        """Return the connection for `TlsStream`; `opened`: this end opened it."""
        sock.setblocking(False)
        sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        context = self._client if opened else self._server
        return context.wrap_socket(sock, server_side=not opened, do_handshake_on_connect=False)

    @staticmethod
    def _context(protocol: int, path: str, certificate: bytes) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # it is the certificate that counts
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(path)
        context.load_verify_locations(cadata=certificate.decode("ascii"))
        return context


class TlsStream(Stream):
    """A stream inside TLS. After `start`, `on_open()` is called once the other end has shown who it is."""

    def __init__(
        self,
        reactor: Watches,
        sock: ssl.SSLSocket,
        on_open: Callable[[], None],
        on_message: Callable[[bytes | bytearray | memoryview], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._tls = sock
        self._on_open = on_open
        self.open = False
        super().__init__(reactor, sock, on_message, on_end)

    def start(self) -> None:
        """Begin to show each other who is there."""
        self._shake()

    def _ready(self, events: int) -> None:
        if not self.open:
            self._shake()
        else:
            super()._ready(events)
        # What TLS has taken from the socket already, no poll tells of.
        while self.open and not self.closed and not self._paused and self._tls.pending():
            self._read()

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._listen_for(READ)
        except ssl.SSLWantWriteError:
            self._listen_for(READ | WRITE)
        except OSError as error:
            self._end(error.strerror or str(error))
        else:
            self.open = True
            self._on_open()
            self._flush()

    def _flush(self) -> None:
        if self.open:
            super()._flush()

    def _receive(self, room: memoryview) -> int:
        got = 0
        try:
            while got < len(room):  # a record at a time, and there may be many
                count = self._tls.recv_into(room[got:])
                if not count:
                    break
                got += count
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not got:
                raise BlockingIOError from None
        return got

    def _transmit(self, parts: deque[memoryview]) -> int:
        first = parts[0]
        if len(first) < _RECORD and len(parts) > 1:
            joined = bytearray()
            for part in parts:
                joined += part[: _RECORD - len(joined)]
                if len(joined) == _RECORD:
                    break
            first = memoryview(joined)
        try:
            return self._tls.send(first)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
