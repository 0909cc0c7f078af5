"""What tasks read and write: whole lines, labels, files, and standard input to whom it is for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from launching import Launch

pytestmark = pytest.mark.pmix


def test_lines_are_never_torn(job: Launch) -> None:
    """Four writers of halves of lines, at the same time."""
    script = "import os\nfor i in range(300): os.write(1, b'x' * 40); os.write(1, b'y' * 40 + b'\\n')"
    result = job.run("-N2", "-n4", sys.executable, "-c", script)
    assert result.lines == ["x" * 40 + "y" * 40] * 1200


def test_labels_stand_before_each_line(job: Launch) -> None:
    result = job.run("-n2", "-l", "sh", "-c", "echo a; echo b; printf end; echo err >&2")
    assert result.lines == ["0: a", "0: b", "0: end", "1: a", "1: b", "1: end"]
    assert sorted(result.err.splitlines()) == ["0: err", "1: err"]


def test_unbuffered_output_comes_before_the_line_ends(job: Launch) -> None:
    child = job.start("-u", "sh", "-c", "printf question; read answer; echo $answer", stdin=subprocess.PIPE)
    assert child.stdout is not None and child.stdin is not None
    assert os.read(child.stdout.fileno(), 100) == b"question"
    assert job.finish(child, input="yes\n").out == "yes\n"


def test_binary_output_arrives_as_it_is(job: Launch) -> None:
    data = bytes(range(256)) * 4096
    source, sink = job.directory / "source", job.directory / "sink"
    source.write_bytes(data)
    with sink.open("wb") as stream:
        job.run("cat", "source", stdout=stream)
    assert sink.read_bytes() == data


def test_output_files_by_task_and_mode(job: Launch) -> None:
    for _ in range(2):
        job.run(
            "-n2", "--output=out.{{taskid}}", "-o", "output.mode=append", "sh", "-c", "echo $FLUX_TASK_RANK; echo e >&2"
        )
    assert (job.directory / "out.1").read_text().splitlines() == ["1", "e"] * 2
    job.run("-n2", "--output=out.{{taskid}}", "--error=err", "sh", "-c", "echo $FLUX_TASK_RANK; echo e >&2")
    assert (job.directory / "out.1").read_text() == "1\n"
    assert (job.directory / "err").read_text() == "e\ne\n"


def test_standard_input_goes_to_all_tasks(job: Launch) -> None:
    assert job.run("-N2", "-n4", "-l", "cat", input="a\nb\n").lines == [f"{r}: {x}" for r in range(4) for x in "ab"]


def test_standard_input_from_a_file_goes_to_all_tasks(job: Launch) -> None:
    source = job.directory / "source"
    source.write_text("skipped\na\n")
    with source.open("rb", buffering=0) as stream:
        stream.read(8)  # a shell reads so before it starts us: tasks go on from there
        assert job.run("-n3", "-l", "cat", stdin=stream).lines == ["0: a", "1: a", "2: a"]


def test_standard_input_goes_to_chosen_ranks(job: Launch) -> None:
    assert job.run("-N2", "-n4", "--input=1-2", "-l", "cat", input="a\n").lines == ["1: a", "2: a"]


def test_input_files_by_task(job: Launch) -> None:
    for rank in range(2):
        (job.directory / f"in.{rank}").write_text(f"for {rank}\n")
    assert job.run("-n2", "--input=in.{{taskid}}", "-l", "cat").lines == ["0: for 0", "1: for 1"]


def test_one_reader_among_others_gets_all_of_a_large_input(job: Launch) -> None:
    size = 5_000_000
    script = "if test $FLUX_TASK_RANK = 1; then wc -c; fi"
    assert job.run("-N2", "-n3", "sh", "-c", script, input="x" * size).out.strip() == str(size)


def test_a_task_that_never_reads_its_input_does_not_keep_the_job(job: Launch) -> None:
    child = job.start("-n2", "true", stdin=subprocess.PIPE)  # which stays open
    assert child.wait(60) == 0


def test_a_slow_reader_of_our_output_slows_the_tasks(job: Launch) -> None:
    child = job.start("sh", "-c", 'yes | head -c 60000000; echo > "$SAID/done"')
    assert child.stdout is not None
    os.read(child.stdout.fileno(), 1)
    # 60 MB are more than all the buffers on the way, so the task cannot have finished.
    assert not (job.said / "done").exists()
    out, _ = child.communicate(timeout=60)
    assert len(out) == 60_000_000 - 1 and child.returncode == 0


def test_a_reader_that_has_seen_enough_ends_the_job_quietly(job: Launch) -> None:
    child = job.start("-n2", "yes")
    assert child.stdout is not None and child.stderr is not None
    child.stdout.readline()
    child.stdout.close()
    assert child.wait(60) == 141
    assert child.stderr.read() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this machine has no /dev/full")
@pytest.mark.parametrize("options", [[], ["--output=/dev/full"]])
def test_a_full_disk_is_one_error(job: Launch, options: list[str]) -> None:
    with open("/dev/full", "w") as full:
        result = job.run("-n2", *options, "yes", code=1, **({} if options else {"stdout": full}))
    assert "No space left on device" in result.err and result.err.count("\n") == 1


def test_a_closed_standard_output_is_no_trap(job: Launch) -> None:
    """Descriptor 1 must not become a file of ours."""
    command = [sys.executable, "-m", "fluxpmix.cli.main", "run", "-n2", "sh", "-c", "echo lost; echo heard >&2"]
    line = " ".join(f"'{word}'" for word in command) + " >&-"
    done = subprocess.run(
        ["sh", "-c", line], env=job.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "heard\nheard\n")
