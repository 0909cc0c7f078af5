"""What one server packs another reads, and damage is an error, never a crash."""

from __future__ import annotations

from pathlib import Path

import pytest
from installed import VERSIONS
from live import library, lone_server
from samples import NOT_SENT, NOT_SENT_IN_ARRAYS, arrays, values

from fluxpmix.pmix import attributes
from fluxpmix.pmix.library import Library
from fluxpmix.pmix.packing import UnpackedInfos, pack_infos
from fluxpmix.pmix.status import PmixError
from fluxpmix.pmix.types import DataType, Info, Infos
from fluxpmix.pmix.values import decode_infos, infos

pytestmark = pytest.mark.pmix
OWN_PROCESS = True

EACH = pytest.mark.parametrize("version", VERSIONS)
INFOS: Infos = (
    Info("text", "x" * 100, DataType.STRING, required=True),
    Info("number", 1 << 40, DataType.UINT64),
    Info("bytes", bytes(range(256)), DataType.BYTE_OBJECT),
)


def packed(library: Library, given: Infos) -> bytes:
    with infos(library, given) as array:
        return pack_infos(library, array.pointer, array.count)


def unpacked(library: Library, data: bytes) -> Infos:
    with UnpackedInfos(library, data) as array:
        return decode_infos(library, array.pointer, array.count)


@EACH
def test_infos_of_every_type_come_back(version: str, tmp_path: Path) -> None:
    found = library(version)
    single = tuple(Info(type_.name, value, type_) for type_, value in values(NOT_SENT).items())
    several = tuple(Info(type_.name, array, DataType.DATA_ARRAY) for type_, array in arrays(NOT_SENT_IN_ARRAYS).items())
    with lone_server(found, tmp_path):
        assert unpacked(found, packed(found, single)) == single
        assert unpacked(found, packed(found, several)) == several
        assert unpacked(found, packed(found, INFOS)) == INFOS


@EACH
def test_nothing_packs_to_nothing(version: str, tmp_path: Path) -> None:
    with lone_server(library(version), tmp_path):
        assert packed(library(version), ()) == b""
        assert unpacked(library(version), b"") == ()


@EACH
def test_data_that_is_cut_short_is_an_error(version: str, tmp_path: Path) -> None:
    found = library(version)
    with lone_server(found, tmp_path):
        whole = packed(found, INFOS)
        for length in range(1, len(whole)):
            with pytest.raises(ValueError, match="damaged"):
                unpacked(found, whole[:length])
        with pytest.raises(ValueError, match="damaged"):
            unpacked(found, whole + b"more")


@EACH
@pytest.mark.parametrize("data", [b"", b"\0", b"\xff" * 8, b"\x7f" * 64, b"nothing that a server packed"])
def test_data_that_nobody_packed_is_an_error(version: str, data: bytes, tmp_path: Path) -> None:
    found = library(version)
    with lone_server(found, tmp_path), pytest.raises((PmixError, ValueError)):
        unpacked(found, len(data).to_bytes(8, "little") + data)


@EACH
def test_what_a_launch_is_set_up_with_reaches_the_other_servers(version: str, tmp_path: Path) -> None:
    with lone_server(library(version), tmp_path) as server:
        made = server.setup_application(
            "job",
            {
                attributes.NODE_MAP: server.generate_regex("node0"),
                attributes.PROC_MAP: server.generate_ppn("0"),
                attributes.SETUP_APP_ENVARS: True,
            },
        )
        assert isinstance(made, bytes)
        server.setup_local_support("job", made)
        server.setup_local_support("job", packed(library(version), INFOS))
        server.setup_local_support("job", INFOS)
        with pytest.raises((PmixError, ValueError)):
            server.setup_local_support("job", packed(library(version), INFOS)[:-40])
