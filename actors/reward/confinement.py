"""What the kernel refuses a sandboxed process, native code included: system calls by seccomp, files by Landlock.

Both need no privilege, hold until the process ends, and are left out where the kernel lacks them. seccomp(2), landlock(7).
"""

import ctypes
import os
import platform
import struct
from collections.abc import Sequence

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_ALLOW, _REFUSE, _KILL, _EPERM = 0x7FFF0000, 0x00050000, 0x80000000, 1
_LOAD, _IF_EQUAL, _IF_ANY, _RETURN = 0x20, 0x15, 0x45, 0x06  # instructions of the packet filter
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_X86_64 = 0xC000003E
# System calls of x86-64 that a comparison may make: memory, clocks, open files, the look at a path and the end. Neither
# processes, sockets, signals, limits nor changes to files are among them.
_SYSTEM_CALLS = {
    "read": 0, "write": 1, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10,
    "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16, "pread64": 17,
    "readv": 19, "writev": 20, "access": 21, "sched_yield": 24, "mremap": 25, "madvise": 28, "getitimer": 36, "setitimer": 38,
    "getpid": 39, "exit": 60, "fcntl": 72, "getcwd": 79, "readlink": 89, "gettimeofday": 96, "sysinfo": 99, "gettid": 186,
    "futex": 202, "sched_getaffinity": 204, "getdents64": 217, "clock_gettime": 228, "clock_getres": 229, "exit_group": 231,
    "newfstatat": 262, "readlinkat": 267, "faccessat": 269, "set_robust_list": 273, "getrandom": 318, "statx": 332,
    "rseq": 334, "faccessat2": 439,
}  # fmt: skip
_OPEN = {2: 1, 257: 2}  # open and openat, with the place of their flags among the arguments
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # of Landlock
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many rights to files a version of Landlock knows


def confine(readable: Sequence[str]) -> None:
    """Leaves this process the files in the folders `readable`, to be read, and the system calls above. Open files stay open."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _restrict_files(libc, readable)
    if platform.machine() == "x86_64":
        _restrict_system_calls(libc)


def _restrict_files(libc: ctypes.CDLL, readable: Sequence[str]) -> None:
    version = libc.syscall(_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return
    handled = struct.pack("Q", (1 << _RIGHTS.get(version, 16)) - 1)
    rules = libc.syscall(_CREATE_RULESET, handled, len(handled), 0)
    for path in readable:
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
        libc.syscall(_ADD_RULE, rules, 1, struct.pack("=Qi", _READ_FILE | _READ_DIR, folder), 0)
        os.close(folder)
    libc.syscall(_RESTRICT_SELF, rules, 0)
    os.close(rules)


def _restrict_system_calls(libc: ctypes.CDLL) -> None:
    def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("HBBI", code, if_true, if_false, value)

    program = [step(_LOAD, _ARCHITECTURE), step(_IF_EQUAL, _X86_64, 1, 0), step(_RETURN, _KILL), step(_LOAD, _NUMBER)]
    for number, place in _OPEN.items():
        flags = _ARGUMENTS + 8 * place
        program += [step(_IF_EQUAL, number, 0, 4), step(_LOAD, flags), step(_IF_ANY, _WRITING, 0, 1)]
        program += [step(_RETURN, _REFUSE | _EPERM), step(_RETURN, _ALLOW)]
    for number in _SYSTEM_CALLS.values():
        program += [step(_IF_EQUAL, number, 0, 1), step(_RETURN, _ALLOW)]
    program.append(step(_RETURN, _REFUSE | _EPERM))
    code = ctypes.create_string_buffer(b"".join(program))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))  # struct sock_fprog
    libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0)
