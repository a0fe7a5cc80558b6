"""From inside the sandbox: files, sockets, processes and memory, by Python and by native code that no audit hook sees.

The comparison of a real child is replaced by one that tries what its first "answer" names and says what came of it.
"""

import ctypes
import errno
import importlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.reward import sandbox_child
from actors.reward.sandbox_child import EQUAL, READY
from conf.load import ROOT

SECRET = "a-secret-of-the-test"
MEMORY_MB = 512
KERNEL = ctypes.CDLL(None)
KERNEL.__errno_location.restype = ctypes.POINTER(ctypes.c_int)
LANDLOCK = KERNEL.syscall(444, None, 0, 1) > 0
SECCOMP = KERNEL.prctl(21, 0, 0, 0, 0) == 0  # PR_GET_SECCOMP


def python(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except (OSError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"
    return "allowed"


def native(call: Callable[..., int], *arguments: object) -> Callable[[], str]:
    """A call of the C library, found before the child is restricted: what it does then raises no audit event."""

    number = KERNEL.__errno_location()

    def tried() -> str:
        return "allowed" if call(*arguments) >= 0 else errno.errorcode[number[0]]

    return tried


def attempts(folder: Path) -> dict[str, Callable[[], str]]:
    secret, new = bytes(folder / "secret"), bytes(folder / "new")
    manifest = bytes(ROOT / "pyproject.toml")  # the repository, which also holds the runs
    return {
        "python reads": lambda: python(lambda: open("/etc/passwd")),
        "python writes": lambda: python(lambda: open(folder / "new", "w")),
        "python starts": lambda: python(lambda: os.system("true")),
        "python forks": lambda: python(os.fork),
        "python connects": lambda: python(socket.socket),
        "python fills memory": lambda: python(lambda: bytearray(MEMORY_MB << 20)),
        "python imports": lambda: python(lambda: importlib.import_module("sympy.stats")),
        "environment": lambda: SECRET if SECRET in os.environ.values() else "none",
        "reads": native(KERNEL.open, secret, os.O_RDONLY),
        "reads the repository": native(KERNEL.open, manifest, os.O_RDONLY),
        "reads its parent's environment": native(KERNEL.open, f"/proc/{os.getppid()}/environ".encode(), os.O_RDONLY),
        "creates": native(KERNEL.open, new, os.O_WRONLY | os.O_CREAT, 0o600),
        "truncates": native(KERNEL.truncate, secret, 0),
        "removes": native(KERNEL.unlink, secret),
        "connects": native(KERNEL.socket, socket.AF_INET, socket.SOCK_STREAM, 0),
        "a local socket": native(KERNEL.socket, socket.AF_UNIX, socket.SOCK_STREAM, 0),
        "forks": native(KERNEL.fork),
        "executes": native(KERNEL.execv, b"/bin/true", (ctypes.c_char_p * 2)(b"true", None)),
        "kills": native(KERNEL.kill, os.getppid(), 0),
        "traces": native(KERNEL.ptrace, 16, os.getppid(), None, None),
        "lifts a limit": native(KERNEL.setrlimit, 9, (ctypes.c_ulong * 2)(1 << 40, 1 << 40)),
    }


def child(request_fd: int, reply_fd: int, result_fd: int, folder: Path) -> None:
    """What `fork_server` does with a new child, with attempts in the place of comparisons."""
    tried = attempts(folder)

    def attempt(name: str, _: str) -> bool:
        os.write(result_fd, json.dumps({name: tried[name]()}).encode() + b"\n")
        return True

    sandbox_child._serve(attempt, request_fd, reply_fd, MEMORY_MB, 0)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("outside")
    (folder / "secret").write_text(SECRET)
    (requests, to_child), (replies, to_parent), (found, out) = os.pipe(), os.pipe(), os.pipe()
    code = "import sys; from pathlib import Path; from tests.unit.test_confinement import child; "
    code += f"child({requests}, {to_parent}, {out}, Path(sys.argv[1]))"
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], env=environment, pass_fds=(requests, to_parent, out), cwd="/"
    )
    for fd in (to_parent, out):
        os.close(fd)
    assert os.read(replies, 2) == bytes([READY, 0])
    for number, name in enumerate(attempts(folder)):
        os.write(to_child, json.dumps([number, 60.0, name, ""]).encode() + b"\n")
        assert os.read(replies, 2) == bytes([EQUAL, number]), name
    os.close(to_child)
    process.wait(60)
    with os.fdopen(found) as lines:
        tried: dict[str, str] = {}
        for line in lines:
            tried |= json.loads(line)
    assert (folder / "secret").read_text() == SECRET
    assert not (folder / "new").exists()
    return tried


@pytest.mark.parametrize(
    ("attempt", "event"),
    [
        ("python reads", "open"),
        ("python writes", "open"),
        ("python starts", "os.system"),
        ("python forks", "os.fork"),
        ("python connects", "socket.__new__"),
    ],
)
def test_python_is_refused_with_the_event(results: dict[str, str], attempt: str, event: str) -> None:
    assert results[attempt] == f"PermissionError: not allowed in a sandboxed process: {event}"


def test_memory_is_bounded_the_environment_is_empty_and_modules_are_imported(results: dict[str, str]) -> None:
    assert results["python fills memory"].startswith("MemoryError")
    assert results["environment"] == "none"
    assert results["python imports"] == "allowed"


@pytest.mark.skipif(not LANDLOCK, reason="the kernel has no Landlock")
@pytest.mark.parametrize("attempt", ["reads", "reads the repository", "reads its parent's environment"])
def test_native_code_reads_no_file(results: dict[str, str], attempt: str) -> None:
    assert results[attempt] == "EACCES"


@pytest.mark.skipif(not SECCOMP, reason="the kernel has no seccomp")
@pytest.mark.parametrize(
    "attempt",
    [
        *("creates", "truncates", "removes", "connects", "a local socket", "forks", "executes", "kills", "traces"),
        "lifts a limit",
    ],
)
def test_native_code_is_refused_the_system_call(results: dict[str, str], attempt: str) -> None:
    assert results[attempt] == "EPERM"
