"""Files that output goes to by name: few are open at once, and what cannot be written is said once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fluxpmix.shell.files import OutputFiles


def descriptors(directory: Path) -> int:
    """How many files below a directory this process has open."""
    links = (os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd))
    return sum(link.startswith(str(directory)) for link in links)


def _is_open(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


def test_many_files_are_written_with_few_descriptors(tmp_path: Path) -> None:
    files = OutputFiles(lambda message: None, most=5)
    for turn in range(3):
        for rank in range(40):
            files.append(str(tmp_path / f"rank.{rank}" / "stdout"), b"%d of %d\n" % (turn, rank))
            assert descriptors(tmp_path) <= 5
    for rank in range(40):
        assert (tmp_path / f"rank.{rank}" / "stdout").read_text() == "".join(f"{turn} of {rank}\n" for turn in range(3))
    files.close()
    assert descriptors(tmp_path) == 0


def test_what_is_there_is_added_to(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("before\n")
    files = OutputFiles(lambda message: None)
    files.append(str(path), b"after\n")
    files.close()
    assert path.read_text() == "before\nafter\n"


def test_what_cannot_be_written_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    files = OutputFiles(said.append)
    (tmp_path / "file").touch()
    for _ in range(3):
        files.append(str(tmp_path / "file" / "out"), b"lost\n")
    files.append(str(tmp_path / "other"), b"lost, too: the job fails\n")
    assert said == [f"cannot write to {tmp_path}/file/out: File exists; the rest of the output is lost"]
    assert not (tmp_path / "other").exists()


def test_a_directory_that_is_removed_does_not_come_back(tmp_path: Path) -> None:
    """Whether its file is open at that time or not."""
    for most in (1, 2):
        said: list[str] = []
        files = OutputFiles(said.append, most=most)
        for name in ("a", "b", "a"):
            files.append(str(tmp_path / "there" / name), b"text\n")
        shutil.rmtree(tmp_path / "there")
        files.append(str(tmp_path / "there" / "b"), b"text\n")
        files.close()
        why = "No such file or directory" if most == 1 else "it was removed while output went there"
        assert said == [f"cannot write to {tmp_path}/there/b: {why}; the rest of the output is lost"]
        assert not (tmp_path / "there").exists()
