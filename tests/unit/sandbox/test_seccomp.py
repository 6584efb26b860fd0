"""The filters say what their tables say: each program is run here, instruction by instruction, without a kernel."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from govdesk.sandbox import denied, seccomp

_X86_64, _I386, _AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
_OWN = 4711
ALLOW, KILL = "allow", "kill"
_BROKER = seccomp.program(
    unix_sockets=True, listening=True, starts_programs=True, only_process=None, own_files_only=False
)
_CONNECTING = seccomp.program(
    unix_sockets=True, listening=False, starts_programs=False, only_process=_OWN, own_files_only=False
)
_SEALED = seccomp.program(
    unix_sockets=False, listening=False, starts_programs=False, only_process=_OWN, own_files_only=False
)
_CONFINED = seccomp.program(
    unix_sockets=False, listening=False, starts_programs=False, only_process=_OWN, own_files_only=True
)
_CLONE_THREAD, _CLONE_NEWNET, _CLONE_NEWUSER, _SIGCHLD = 0x10000, 0x40000000, 0x10000000, 17


def answer(program: bytes, number: int, *arguments: int, arch: int = _X86_64) -> str:
    """What the kernel would say to a call: classic BPF as in Documentation/networking/filter.rst."""
    call = struct.pack("<IIQ6Q", number, arch, 0, *(*arguments, *[0] * (6 - len(arguments))))
    code = list(struct.iter_unpack("<HBBI", program))
    at = loaded = 0
    while True:
        operation, if_true, if_false, k = code[at]
        at += 1
        match operation:
            case 0x20:
                (loaded,) = struct.unpack_from("<I", call, k)
            case 0x15:
                at += if_true if loaded == k else if_false
            case 0x35:
                at += if_true if loaded >= k else if_false
            case 0x45:
                at += if_true if loaded & k else if_false
            case 0x06 if k == 0x7FFF0000:
                return ALLOW
            case 0x06 if k == 0x80000000:
                return KILL
            case 0x06 if k >> 16 == 5:
                return errno.errorcode[k & 0xFFFF]
            case _:
                raise AssertionError(f"no instruction of ours: {operation:#x} {k:#x}")


_ALL = {"broker": _BROKER, "connecting": _CONNECTING, "sealed": _SEALED, "confined": _CONFINED}
_ROLES = {name: program for name, program in _ALL.items() if name != "broker"}
_READ, _WRITE, _GETPID, _FUTEX, _MMAP = 0, 1, 39, 202, 9


@pytest.mark.parametrize("wall", _ALL)
def test_ordinary_work_goes_on(wall: str) -> None:
    for number in (_READ, _WRITE, _GETPID, _FUTEX, _MMAP, denied.OPENAT):
        assert answer(_ALL[wall], number) == ALLOW


@pytest.mark.parametrize("wall", _ALL)
def test_other_processors_and_the_x32_table_are_killed(wall: str) -> None:
    for arch in (_I386, _AARCH64, 0):
        assert answer(_ALL[wall], _GETPID, arch=arch) == KILL
    assert answer(_ALL[wall], 0x40000000 | _GETPID) == KILL


@pytest.mark.parametrize("name", denied.ALWAYS)
def test_what_no_part_may_do(name: str) -> None:
    assert {answer(program, denied.ALWAYS[name]) for program in _ALL.values()} == {"EPERM"}


@pytest.mark.parametrize(
    ("name", "number"),
    {
        "io_uring_setup": 425, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311,
        "pidfd_getfd": 438, "kcmp": 312, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "add_key": 248,
        "request_key": 249, "keyctl": 250, "unshare": 272, "setns": 308, "msgget": 68, "semget": 64, "mq_open": 240,
        "rt_sigqueueinfo": 129, "pidfd_send_signal": 424, "fanotify_init": 300, "process_madvise": 440,
        "open_by_handle_at": 304, "mount": 165, "personality": 135, "modify_ldt": 154,
    }.items(),
)  # fmt: skip
def test_the_families_are_on_the_list_under_the_kernels_numbers(name: str, number: int) -> None:
    assert denied.ALWAYS[name] == number


@pytest.mark.parametrize("name", denied.LISTENING)
def test_only_the_broker_listens(name: str) -> None:
    assert answer(_BROKER, denied.LISTENING[name]) == ALLOW
    assert {answer(program, denied.LISTENING[name]) for program in _ROLES.values()} == {"EPERM"}
    assert denied.LISTENING == {"bind": 49, "listen": 50, "accept": 43, "accept4": 288}


@pytest.mark.parametrize("number", [seccomp.SOCKET, seccomp.SOCKETPAIR])
def test_socket_families(number: int) -> None:
    for family in range(64):
        local = ALLOW if family == 1 else "EPERM"
        assert answer(_BROKER, number, family) == local
        assert answer(_CONNECTING, number, family) == local
        assert answer(_SEALED, number, family) == "EPERM"
        assert answer(_CONFINED, number, family) == "EPERM"


def test_nothing_connects_once_sealed() -> None:
    assert answer(_CONNECTING, seccomp.CONNECT) == ALLOW
    assert answer(_SEALED, seccomp.CONNECT) == answer(_CONFINED, seccomp.CONNECT) == "EPERM"


def test_programs_are_started_by_the_broker_only() -> None:
    for number in (seccomp.EXECVE, seccomp.EXECVEAT, seccomp.FORK, seccomp.VFORK):
        assert answer(_BROKER, number) == ALLOW
        assert {answer(program, number) for program in _ROLES.values()} == {"EPERM"}
    assert (seccomp.EXECVE, seccomp.EXECVEAT, seccomp.FORK, seccomp.VFORK) == (59, 322, 57, 58)


def test_threads_start_and_neither_processes_nor_namespaces_do() -> None:
    for program in _ROLES.values():
        assert answer(program, seccomp.CLONE, _CLONE_THREAD) == ALLOW
        assert answer(program, seccomp.CLONE, _SIGCHLD) == "EPERM"
    assert answer(_BROKER, seccomp.CLONE, _SIGCHLD) == ALLOW
    for namespace in (_CLONE_NEWNET, _CLONE_NEWUSER, 0x20000):
        assert answer(_BROKER, seccomp.CLONE, namespace | _SIGCHLD) == "EPERM"
    # the library falls back to clone, whose flags are seen
    assert {answer(program, seccomp.CLONE3) for program in _ALL.values()} == {"ENOSYS"}


@pytest.mark.parametrize("wall", _ROLES)
def test_only_the_own_process_is_signalled_and_scheduled(wall: str) -> None:
    program = _ROLES[wall]
    for number in denied.OWN_PROCESS.values():
        assert answer(program, number, _OWN, 0) == ALLOW
        for other in (0, 1, _OWN + 1, 0xFFFFFFFF):
            assert answer(program, number, other, _OWN) == "EPERM"
    for number in denied.OWN_PROCESS_OR_0.values():
        assert answer(program, number, 0) == answer(program, number, _OWN) == ALLOW
        assert answer(program, number, 1) == "EPERM"
    for number in denied.PROCESSES.values():
        assert answer(program, number, _OWN) == "EPERM"
    for owner in (8, 10, 15):  # F_SETOWN, F_SETSIG, F_SETOWN_EX: the kernel would send the signal
        assert answer(program, denied.FCNTL, 3, owner) == "EPERM"
    assert answer(program, denied.FCNTL, 3, 3) == ALLOW
    assert denied.OWN_PROCESS == {"kill": 62, "tgkill": 234}
    assert denied.OWN_PROCESS_OR_0 == {"prlimit64": 302, "sched_setaffinity": 203}


def test_the_broker_ends_its_children() -> None:
    assert answer(_BROKER, denied.OWN_PROCESS["kill"], 1) == ALLOW
    assert answer(_BROKER, denied.PROCESSES["pidfd_open"], 1) == ALLOW


@pytest.mark.parametrize("name", denied.FILES)
def test_what_landlock_does_not_cover_is_denied_to_the_confined_only(name: str) -> None:
    assert answer(_CONFINED, denied.FILES[name]) == "EPERM"
    assert answer(_SEALED, denied.FILES[name]) == ALLOW
    assert answer(_BROKER, denied.FILES[name]) == ALLOW  # its filter is inherited by the window


def test_opening_truncates_only_what_may_be_written() -> None:
    for number, before in ((denied.OPEN, (0,)), (denied.OPENAT, (0, 0))):
        for mode, truncated in (
            (os.O_RDONLY, "EPERM"), (os.O_WRONLY, ALLOW), (os.O_RDWR, ALLOW), (os.O_ACCMODE, "EPERM"),
        ):  # fmt: skip
            assert answer(_CONFINED, number, *before, mode | os.O_TRUNC | os.O_CLOEXEC) == truncated
            assert answer(_CONFINED, number, *before, mode | os.O_CREAT) == ALLOW
    assert answer(_CONFINED, denied.OPENAT2) == "ENOSYS"


def test_devices_and_files_are_not_controlled() -> None:
    assert answer(_CONFINED, denied.IOCTL, 3, 0x5401) == ALLOW  # isatty()
    for request in (0x5412, 0x40086602, 0x8901):  # TIOCSTI, FS_IOC_SETFLAGS, FIOSETOWN
        assert answer(_CONFINED, denied.IOCTL, 3, request) == "EPERM"
