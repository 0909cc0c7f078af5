"""Credentials of munge, where it runs (munge(7)): made and checked by its library, which asks its daemon.

`shell/base.py` calls this for PMIx_Get_credential and PMIx_Validate_credential. Both calls wait for the daemon.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SONAME = "libmunge.so.2"


class MungeError(Exception):
    """Munge is not there, or does not take a credential."""


def encode() -> bytes:
    """Return a credential of this process's user. Raises `MungeError`."""
    ffi, lib = _library()
    made = ffi.new("char **")
    error = lib.munge_encode(made, ffi.NULL, ffi.NULL, 0)
    if error:
        raise MungeError(f"munge makes no credential: error {error}")
    try:
        text: bytes = ffi.string(made[0])
        return text
    finally:
        lib.free(made[0])


def decode(credential: bytes) -> tuple[int, int]:
    """Return the user and the group of a credential. Raises `MungeError` where it is not valid."""
    ffi, lib = _library()
    payload, size = ffi.new("void **"), ffi.new("int *")
    user, group = ffi.new("uid_t *"), ffi.new("gid_t *")
    text = ffi.new("char[]", credential.split(b"\0")[0])
    error = lib.munge_decode(text, ffi.NULL, payload, size, user, group)
    if payload[0]:
        lib.free(payload[0])
    if error:
        raise MungeError(f"munge does not take the credential: error {error}")
    return user[0], group[0]


def _library() -> tuple[Any, Any]:
    from fluxpmix.pmix import _declarations

    ffi: Any = _declarations.ffi
    try:
        return ffi, ffi.dlopen(_SONAME)
    except OSError as error:
        raise MungeError(str(error)) from None
