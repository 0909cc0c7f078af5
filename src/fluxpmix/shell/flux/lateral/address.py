"""Where this node is in the network of Flux's overlay: the network that the job's shells may use too.

Used by `listener.py`, with the broker attributes of its own broker. See flux-broker-attributes(7).
"""

from __future__ import annotations

from socket import AF_INET, AF_INET6, SOCK_DGRAM, getaddrinfo, socket

_ANY = ("", "*", "0.0.0.0", "::")


def own_address(endpoint: str | None, parent: str | None) -> tuple[str, int]:
    """Return this node's address and its family, given where its broker listens, and whom it connects to.

    Brokers of one machine speak over local sockets; then it is the machine's own address. Raises OSError.
    """
    host, port = _parts(endpoint)
    if host in _ANY:
        host, port = _parts(parent)
        if host not in _ANY:
            host = _towards(host, port)
    if host in _ANY:
        host = "127.0.0.1"
    return host, AF_INET6 if ":" in host else AF_INET


def _parts(uri: str | None) -> tuple[str, int]:
    """Return host and port of a tcp URI; "" for others."""
    if uri is None or not uri.startswith("tcp://"):
        return "", 0
    host, _, port = uri[len("tcp://") :].rpartition(":")
    host = host.strip("[]")
    mapped = "::ffff:"  # IPv4 in IPv6's clothes
    return host[len(mapped) :] if host.startswith(mapped) and "." in host else host, int(port)


def _towards(host: str, port: int) -> str:
    """Return what this node is called on the way to a host: nothing is sent."""
    family, kind, protocol, _, where = getaddrinfo(host, port, type=SOCK_DGRAM)[0]
    with socket(family, kind, protocol) as probe:
        probe.connect(where)
        return str(probe.getsockname()[0])
