"""What a user can do wrong, and what can go wrong: one line that names it, a reliable exit code, nothing left.

That nothing is left is checked by the fixture `job`, after every test.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from installed import VERSIONS
from launching import CLIENTS, Launch, libpmix

pytestmark = pytest.mark.pmix
CLIENT = "from fluxpmix import Client\nimport os, signal, sys\nclient = Client()\nrank = client.proc.rank\n"


def client(text: str) -> list[str]:
    """A command that runs a Python text with `client` connected."""
    return [sys.executable, "-c", CLIENT + text]


def only_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("flux-pmix: ")]
    assert len(lines) == 1, text
    return lines[0]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["nosuch-command"], 127, "command not found"),
        (["./nosuch"], 127, "no such file"),
        (["/tmp"], 126, "is a directory"),
        (["./plain"], 126, "chmod +x"),
        (["-n3", "-o", "oversubscribe=off", "-c1000", "true"], 1, "unsatisfiable request"),
        (["-N4", "-n2", "true"], 1, "node count must not be greater"),
        (["--taskmap=manual:[[0,1", "-n2", "true"], 2, "map"),
        (["--taskmap=manual:0-1", "-n3", "true"], 1, "the map has 2 task(s)"),
        (["--output={{nosuch}}", "true"], 2, "{{nosuch}}"),
        (["--output={{taskid", "true"], 2, "not closed"),
        (["--output=no/such/file", "true"], 1, "no directory"),
        (["--input=nosuch", "true"], 1, "nosuch"),
        (["--env==x", "true"], 2, "a name is expected"),
        (["--env=A=$NOSUCH_VARIABLE", "true"], 1, "NOSUCH_VARIABLE is not set"),
        (["--env-file=nosuch", "true"], 1, "nosuch"),
        (["-t", "fast", "true"], 2, "fast"),
        (["-n0", "true"], 2, "-n"),
        (["--nosuch", "true"], 2, "unknown option --nosuch"),
        (["-o", "cpu-affinty=on", "true"], 2, "did you mean cpu-affinity"),
        (["-o", "cpu-affinity=map:9999", "true"], 1, "no CPU 9999"),
        (["-o", "libpmix=/no/such/libpmix.so", "true"], 1, "/no/such/libpmix.so"),
        ([], 2, "command is missing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_line(job: Launch, words: list[str], code: int, says: str) -> None:
    (job.directory / "plain").write_text("no program")
    result = job.run(*words, code=code)
    assert says in only_line(result.err) and result.err.count("\n") == 1 and not result.out


@pytest.mark.parametrize("value", ["/no/such/directory", "/dev/null"])
def test_an_unusable_tmpdir_is_named(job: Launch, value: str) -> None:
    result = job.run("true", code=1, env={"TMPDIR": value})
    assert value in only_line(result.err) and "set TMPDIR" in result.err


def test_no_libpmix_lists_what_was_tried(job: Launch) -> None:
    fake = job.directory / "libpmix.so.2"
    fake.write_text("no library")
    result = job.run("true", code=1, env={"FLUXPMIX_LIBPMIX": str(fake)})
    assert str(fake) in only_line(result.err) and "FLUXPMIX_LIBPMIX" in result.err


def test_a_client_that_exits_without_finalizing_does_not_hold_up_the_others(job: Launch) -> None:
    script = client("client.fence()\nif rank == 0: os._exit(0)\nclient.finalize()")
    job.run("-N2", "-n4", *script)


@pytest.mark.parametrize("server", VERSIONS)
def test_a_client_killed_before_it_fences_fails_the_fence_of_the_others(job: Launch, server: str) -> None:
    """They hear of it at once, and not at the exit timeout.

    libpmix 5.0 tells only the first participant of each server that a fence failed: it forgets the status
    on the way to the next.
    """
    text = """
if rank == 0: os.kill(os.getpid(), signal.SIGKILL)
try:
    client.fence()
    print(f'{rank} fenced', flush=True)
except Exception as error:
    print(f'{rank} failed', flush=True)
os._exit(3)
"""
    result = job.run("-N3", "-n3", "-o", f"libpmix={libpmix(server)}", *client(text), code=137)
    assert result.lines == ["1 failed", "2 failed"]


@pytest.mark.parametrize("status", [0, 1, 42, 300])
@pytest.mark.parametrize("nodes", [1, 2])
def test_abort_ends_the_job_with_its_status_and_message(job: Launch, nodes: int, status: int) -> None:
    text = f"client.fence()\nif rank == 1: client.abort({status}, 'it is over')\nsignal.pause()"
    code = status if 0 < status < 256 else 1
    result = job.run(f"-N{nodes}", "-n4", *client(text), code=code)
    assert only_line(result.err) == f"flux-pmix: error: PMIx_Abort by rank 1 with status {status}: it is over"


@pytest.mark.parametrize("server", VERSIONS)
def test_a_killed_shell_ends_the_job(job: Launch, server: str) -> None:
    child = job.start("-N3", "-n3", "-o", f"libpmix={libpmix(server)}", *client(SAY_AND_FENCE))
    job.wait_for("0")
    job.wait_for("2")
    os.kill(int(job.wait_for("2").split()[1]), signal.SIGKILL)
    result = job.finish(child, 1)
    assert "lost job shell 2 on" in only_line(result.err) and "SIGKILL" in result.err


SAY_AND_FENCE = """
path = os.environ['SAID'] + '/'
with open(path + f'tmp{rank}', 'w') as file: file.write(f'{os.getpid()} {os.getppid()}')
os.rename(path + f'tmp{rank}', path + str(rank))
if rank == 1: signal.pause()
client.fence()
"""


def test_a_killed_launcher_takes_the_job_with_it(job: Launch) -> None:
    child = job.start(
        "-N2", "-n2", "sh", "-c", 'trap "" TERM HUP; echo $$ > "$SAID/$FLUX_TASK_RANK"; while :; do sleep 1; done'
    )
    job.wait_for("0")
    job.wait_for("1")
    child.kill()
    child.wait()


def test_a_command_that_cannot_be_run_by_the_kernel_is_named(job: Launch) -> None:
    script = job.directory / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    result = job.run("-n2", "./script", code=127)
    assert "./script" in only_line(result.err)


def test_a_script_without_an_interpreter_line_is_run_by_sh(job: Launch) -> None:
    script = job.directory / "script"
    script.write_text('echo "hello $1"\n')
    script.chmod(0o755)
    assert job.run("./script", "you").out == "hello you\n"


def test_inside_flux_it_says_how_flux_runs_it(job: Launch) -> None:
    result = job.run("-n2", "-l", "true", code=1, env={"FLUX_URI": "local:///nowhere"})
    assert "flux run -o pmi=pmix -n2 -l true" in only_line(result.err)
    job.run("--local", "-n2", "true", env={"FLUX_URI": "local:///nowhere"})


def test_a_long_tmpdir_is_no_obstacle(job: Launch) -> None:
    """A path that is longer than a socket's address can be."""
    deep = job.tmpdir / Path("x" * 100) / ("y" * 100)
    deep.mkdir(parents=True)
    libpmix("5.0")
    job.run("-N2", "-n4", sys.executable, CLIENTS / "fence.py", env={"TMPDIR": str(deep)})
    deep.rmdir()
    deep.parent.rmdir()
