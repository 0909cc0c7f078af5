"""Info arrays as bytes that another server of the same libpmix can read.

They begin with how many follow: libpmix takes some that are cut short for whole ones.
`server.py` ships what PMIx_server_setup_application made to the job's other servers with these.
Standard 4.2, section 18.3 ("Data Buffer Support").
"""

from __future__ import annotations

from fluxpmix.pmix import decoding
from fluxpmix.pmix.status import check
from fluxpmix.pmix.types import DataType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.pmix.library import Library

_HEAD = 8  # bytes


def pack_infos(library: Library, pointer: Any, count: int) -> bytes:
    """Return an info array packed: its length, then its infos. Raises `PmixError`."""
    if not count:
        return b""
    ffi, lib = library.ffi, library.lib
    buffer = ffi.new("pmix_data_buffer_t *")
    try:
        length = ffi.new("size_t *", count)
        for what, number, kind in ((length, 1, DataType.SIZE), (pointer, count, DataType.INFO)):
            check(lib.PMIx_Data_pack(ffi.NULL, buffer, what, number, kind), "PMIx_Data_pack")
        packed = decoding.blob(ffi, buffer.base_ptr, buffer.bytes_used)
        return len(packed).to_bytes(_HEAD, "little") + packed
    finally:
        if buffer.base_ptr:
            lib.free(buffer.base_ptr)


class UnpackedInfos:
    """The info array in what `pack_infos` made: `pointer` and `count` until `close`."""

    def __init__(self, library: Library, packed: bytes) -> None:
        self._library = library
        ffi, lib = library.ffi, library.lib
        self.pointer: Any = ffi.NULL
        self.count = 0
        if not packed:
            return
        packed, said = packed[_HEAD:], int.from_bytes(packed[:_HEAD], "little")
        if len(packed) != said:
            raise ValueError(f"packed infos say that they are {said} bytes and are {len(packed)}: they are damaged")
        memory = ffi.from_buffer("char[]", packed)
        buffer = ffi.new("pmix_data_buffer_t *")
        buffer.base_ptr = buffer.unpack_ptr = memory
        buffer.pack_ptr = memory + len(packed)
        buffer.bytes_allocated = buffer.bytes_used = len(packed)
        name, length, number = "PMIx_Data_unpack", ffi.new("size_t *"), ffi.new("int32_t *", 1)
        check(lib.PMIx_Data_unpack(ffi.NULL, buffer, length, number, DataType.SIZE), name)
        if not 0 < length[0] <= len(packed):  # an info takes more than a byte
            raise ValueError(f"packed infos claim to be {length[0]} in {len(packed)} bytes: they are damaged")
        self.count = number[0] = length[0]
        self.pointer = ffi.cast("pmix_info_t *", lib.calloc(self.count, ffi.sizeof("pmix_info_t")))
        try:
            check(lib.PMIx_Data_unpack(ffi.NULL, buffer, self.pointer, number, DataType.INFO), name)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        pointer, self.pointer = self.pointer, self._library.ffi.NULL
        decoding.free_infos(self._library, pointer, self.count)

    def __enter__(self) -> UnpackedInfos:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
