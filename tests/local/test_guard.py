"""Nobody else gets into a job: what the kernel says about a connection counts, not what the client says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from installed import VERSIONS
from launching import CLIENTS, Launch, libpmix

pytestmark = pytest.mark.pmix
# Says what makes a process the rank's client, then waits for `go` and ends.
TELL = """
import os, time
names = [name for name in os.environ if name.startswith(('PMIX_', 'FLUXPMIX_'))]
path = os.environ['SAID'] + '/environment'
with open(path + '.tmp', 'w') as file: file.write('\\n'.join(f'{name}={os.environ[name]}' for name in names))
os.rename(path + '.tmp', path)
deadline = time.monotonic() + 60
while not os.path.exists(os.environ['SAID'] + '/go') and time.monotonic() < deadline: time.sleep(0.01)
from fluxpmix import Client
with Client() as client: print('served', client.proc.rank)
"""
INTRUDER = "from fluxpmix import Client\nClient()\nprint('in')"


def intrude(job: Launch, environment: str, *prefix: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Try to connect as the job's client, from a process that is none of the job's."""
    env = job.environment(**dict(line.split("=", 1) for line in environment.splitlines()), **more)
    command = [*prefix, sys.executable, "-c", INTRUDER]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False, cwd="/")


@pytest.mark.parametrize("server", VERSIONS)
def test_a_process_of_the_same_user_that_is_not_the_jobs_is_refused(job: Launch, server: str) -> None:
    path = libpmix(server)
    child = job.start("-n1", "-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}", sys.executable, "-c", TELL)
    done = intrude(job, job.wait_for("environment"))
    assert done.returncode != 0 and "in" not in done.stdout.split()
    (job.said / "go").touch()
    result = job.finish(child)
    assert result.out == "served 0\n", "the job goes on as if nothing had been"
    assert "no process of the job holds its other end" in result.err


@pytest.fixture
def liar(tmp_path: Path) -> Path:
    """A library whose geteuid() and getuid() say 0, whoever asks."""
    source, library = tmp_path / "liar.c", tmp_path / "liar.so"
    source.write_text("unsigned geteuid(void) { return 0; }\nunsigned getuid(void) { return 0; }\n")
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no C compiler: {error}")
    return library


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to start a process of another user")
@pytest.mark.parametrize("server", VERSIONS)
def test_another_user_who_lies_about_it_is_refused(job: Launch, liar: Path, server: str) -> None:
    path = libpmix(server)
    child = job.start("-n1", "-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}", sys.executable, "-c", TELL)
    environment = job.wait_for("environment")
    # In C, so that all it needs of this machine is open to the other user.
    program = job.directory / "intruder"
    library = [path, f"-Wl,-rpath,{os.path.dirname(path)}"] if os.sep in path else [f"-l:{path}"]
    build = ["cc", "-o", str(program), str(CLIENTS / "exchange.c"), *library]
    subprocess.run(build, check=True, capture_output=True)
    env = job.environment(**dict(line.split("=", 1) for line in environment.splitlines()), LD_PRELOAD=str(liar))
    readable = job.directory
    while readable != readable.parent:
        readable.chmod(readable.stat().st_mode | 0o055)
        readable = readable.parent
    env["HOME"] = "/"
    done = subprocess.run(
        [program],
        env=env,
        user=65534,
        group=65534,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    (job.said / "go").touch()
    result = job.finish(child)
    assert result.out == "served 0\n"
    assert "it belongs to user 65534, the job to user 0" in result.err, (done, result)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to start a process of another user")
@pytest.mark.parametrize("server", VERSIONS)
def test_a_tool_of_another_user_is_refused(job: Launch, liar: Path, server: str) -> None:
    path = libpmix(server)
    task = 'touch "$SAID/0"; while ! test -e "$SAID/go"; do sleep 0.02; done'
    child = job.start("-n1", "-o", f"libpmix={path}", "sh", "-c", task)
    job.wait_for("0")
    (file,) = job.tmpdir.glob("flux-pmix-*/0/pmix.*.tool")
    done = foreign_tool(job.directory, path, liar, file.read_text(), job.environment())
    assert done.returncode == 1 and b"init:" in done.stdout, done
    (job.said / "go").touch()
    assert "it belongs to user 65534, the job to user 0" in job.finish(child).err


def foreign_tool(
    directory: Path, path: str, liar: Path, rendezvous: str, environment: dict[str, str]
) -> subprocess.CompletedProcess[bytes]:
    """Run a tool of another user, who knows all that is in a rendezvous file and says to be root."""
    program, copy = directory / "intruder", directory / "rendezvous"
    copy.write_text(rendezvous)
    library = [path, f"-Wl,-rpath,{os.path.dirname(path)}"] if os.sep in path else [f"-l:{path}"]
    subprocess.run(["cc", "-o", program, str(CLIENTS / "tool.c"), *library], check=True, capture_output=True)
    readable = directory
    while readable != readable.parent:
        readable.chmod(readable.stat().st_mode | 0o055)
        readable = readable.parent
    copy.chmod(0o644)
    return subprocess.run(
        [program, copy, "whatever"],
        env=environment | {"HOME": "/", "LD_PRELOAD": str(liar), "PMIX_SECURITY_MODE": "native"},
        user=65534,
        group=65534,
        extra_groups=[],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_a_grandchild_and_a_daemon_of_a_task_are_the_jobs_own(job: Launch) -> None:
    """Started by a shell, or having left its session and lost its parent."""
    script = f'setsid {sys.executable} -c "$0" & wait'
    text = INTRUDER.replace("Client()", "with Client() as client: pass")
    assert job.run("-n2", "sh", "-c", script, text).out == "in\nin\n"


def test_many_connections_that_say_nothing_do_not_stop_the_job(job: Launch) -> None:
    child = job.start("-n1", sys.executable, "-c", TELL)
    environment = dict(line.split("=", 1) for line in job.wait_for("environment").splitlines())
    address = next(value for name, value in environment.items() if name.startswith("PMIX_SERVER_URI"))
    host, port = address.split("//")[1].rsplit(":", 1)
    script = (
        "import socket, sys\n"
        f"held = [socket.create_connection(({host!r}, {int(port)})) for _ in range(20)]\n"
        "sys.stdout.write('held\\n'); sys.stdout.flush(); sys.stdin.read()"
    )
    silent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert silent.stdout is not None and silent.stdout.readline() == "held\n"
        started = time.monotonic()
        (job.said / "go").touch()
        assert job.finish(child).out == "served 0\n"
        assert time.monotonic() - started < 20
    finally:
        silent.communicate("")


def munge_runs() -> bool:
    if shutil.which("munge") is None:
        return False
    done = subprocess.run("munge -n | unmunge", shell=True, capture_output=True, timeout=20, check=False)
    return done.returncode == 0


@pytest.mark.munge
@pytest.mark.skipif(not munge_runs(), reason="needs munge, with munged running")
def test_munge_proves_who_connects_where_it_is_asked_for(job: Launch) -> None:
    path = libpmix("4.2")  # Debian's: the wheel's has no munge
    script = f"echo $PMIX_SECURITY_MODE; exec {sys.executable} {CLIENTS / 'fence.py'}"
    words = ["-N2", "-n4", "-o", "security=munge", "-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}"]
    assert job.run(*words, "sh", "-c", script).lines == ["munge"] * 4


def test_munge_that_is_not_there_is_one_line(job: Launch) -> None:
    result = job.run("-o", "security=munge", "-o", f"libpmix={libpmix('5.0')}", "true", code=1)
    assert "cannot use munge" in result.err and "munged runs" in result.err and result.err.count("\n") == 1
