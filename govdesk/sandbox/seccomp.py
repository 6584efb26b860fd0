"""System-call filters without root and without libseccomp: no network, no exec, no way round them.

The filters are deny-lists on x86-64 (`denied.py`): foreign architectures and the x32 table are
killed, what is denied answers EPERM. Built by hand as classic BPF (seccomp(2),
Documentation/userspace-api/seccomp_filter.rst) and installed on all threads at once.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

from govdesk.errors import WallError
from govdesk.sandbox import denied

_SYS_SECCOMP = 317
_SET_MODE_FILTER = 1
_FLAG_TSYNC = 1
_AUDIT_ARCH_X86_64 = 0xC000003E
_X32_BIT = 0x40000000
_KILL = 0x80000000
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_AF_UNIX = 1
_CLONE_THREAD = 0x00010000
_IOCTL_TYPE_MASK = 0xFF00
_CLONE_NAMESPACES = 0x7E020000  # new mount, cgroup, uts, ipc, user, pid and network namespaces

# classic BPF: load word at absolute offset, jump if equal / greater-or-equal / any bit set, and, return
_LD, _JEQ, _JGE, _JSET, _AND, _RET = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_OFFSET_NR, _OFFSET_ARCH, _OFFSET_ARGS = (
    0,
    4,
    16,
)  # struct seccomp_data; low halves first

SOCKET, CONNECT, SOCKETPAIR = 41, 42, 53
EXECVE, EXECVEAT, FORK, VFORK, CLONE, CLONE3 = 59, 322, 57, 58, 56, 435


def _statement(code: int, k: int) -> bytes:
    return struct.pack("<HBBI", code, 0, 0, k)


def _jump(code: int, k: int, if_true: int, if_false: int) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, k)


def _answer(number: int, error: int) -> list[bytes]:
    return [_jump(_JEQ, number, 0, 1), _statement(_RET, _ERRNO | error)]


def _allow_only(number: int, argument: int, values: tuple[int, ...]) -> list[bytes]:
    """EPERM unless the low half of the argument is one of the values: all the kernel reads of an int."""
    body = [_statement(_LD, _OFFSET_ARGS + 8 * argument)]
    body += [_jump(_JEQ, value, len(values) - at, 0) for at, value in enumerate(values)]
    body += [_statement(_RET, _ERRNO | errno.EPERM), _statement(_RET, _ALLOW)]
    return [_jump(_JEQ, number, 0, len(body)), *body]


def _allow_ioctls(types: tuple[int, ...]) -> list[bytes]:
    """EPERM unless an ioctl is one that everybody may make, or of one of the types: its second byte."""
    exact = denied.IOCTLS_ALLOWED
    allow_at = len(exact) + len(types) + 2  # from the first comparison to the answer that allows
    body = [_statement(_LD, _OFFSET_ARGS + 8)]
    body += [_jump(_JEQ, value, allow_at - at - 1, 0) for at, value in enumerate(exact)]
    body += [_statement(_AND, _IOCTL_TYPE_MASK)]
    body += [_jump(_JEQ, kind << 8, len(types) - at, 0) for at, kind in enumerate(types)]
    body += [_statement(_RET, _ERRNO | errno.EPERM), _statement(_RET, _ALLOW)]
    return [_jump(_JEQ, denied.IOCTL, 0, len(body)), *body]


def _deny_values(number: int, argument: int, values: tuple[int, ...]) -> list[bytes]:
    """EPERM when the low half of the argument is one of the values."""
    body = [_statement(_LD, _OFFSET_ARGS + 8 * argument)]
    body += [_jump(_JEQ, value, len(values) - at, 0) for at, value in enumerate(values)]
    body += [_statement(_RET, _ALLOW), _statement(_RET, _ERRNO | errno.EPERM)]
    return [_jump(_JEQ, number, 0, len(body)), *body]


def _require_bits(number: int, argument: int, mask: int) -> list[bytes]:
    """EPERM when no bit of the mask is set in the argument."""
    return [
        _jump(_JEQ, number, 0, 4),
        _statement(_LD, _OFFSET_ARGS + 8 * argument),
        _jump(_JSET, mask, 0, 1),
        _statement(_RET, _ALLOW),
        _statement(_RET, _ERRNO | errno.EPERM),
    ]


def _refuse_bits(number: int, argument: int, mask: int) -> list[bytes]:
    """EPERM when any bit of the mask is set in the argument."""
    return [
        _jump(_JEQ, number, 0, 4),
        _statement(_LD, _OFFSET_ARGS + 8 * argument),
        _jump(_JSET, mask, 1, 0),
        _statement(_RET, _ALLOW),
        _statement(_RET, _ERRNO | errno.EPERM),
    ]


def _truncate_only_what_may_be_written(number: int, flags: int) -> list[bytes]:
    """EPERM when a file is opened with O_TRUNC for anything but writing.

    The kernel truncates then as well, and Landlock before ABI 3 asks for no right to write.
    """
    return [
        _jump(_JEQ, number, 0, 7),
        _statement(_LD, _OFFSET_ARGS + 8 * flags),
        _jump(_JSET, os.O_TRUNC, 0, 3),
        _jump(_JSET, os.O_WRONLY, 0, 1),
        _jump(_JSET, os.O_RDWR, 2, 1),  # both bits: a mode of its own, without a right to read or write
        _jump(_JSET, os.O_RDWR, 0, 1),
        _statement(_RET, _ALLOW),
        _statement(_RET, _ERRNO | errno.EPERM),
    ]


def program(
    *,
    unix_sockets: bool,
    listening: bool,
    starts_programs: bool,
    only_process: int | None,
    own_files_only: bool,
    ioctl_types: tuple[int, ...] = (),
) -> bytes:
    """The filter as bytes of `struct sock_filter` (8 each).

    Args:
        unix_sockets: new AF_UNIX sockets may be made and connected; no other family, ever.
        listening: a Unix socket may be bound and listened on (the broker's "raise the window").
        starts_programs: fork and exec stay possible (the broker).
        only_process: the one process that may be signalled and rescheduled, this one; None leaves
            that open (the broker, whose filter its children inherit).
        own_files_only: what Landlock does not cover: attributes of files, truncation by name, shared memory.
        ioctl_types: second bytes of the ioctls that a graphics driver makes, with `own_files_only`.
    """
    code = [
        _statement(_LD, _OFFSET_ARCH),
        _jump(_JEQ, _AUDIT_ARCH_X86_64, 1, 0),
        _statement(_RET, _KILL),
        _statement(_LD, _OFFSET_NR),
        _jump(_JGE, _X32_BIT, 0, 1),
        _statement(_RET, _KILL),
    ]
    for number in denied.ALWAYS.values():
        code += _answer(number, errno.EPERM)
    if not listening:
        for number in denied.LISTENING.values():
            code += _answer(number, errno.EPERM)
    if unix_sockets:
        for number in (SOCKET, SOCKETPAIR):
            code += _allow_only(number, 0, (_AF_UNIX,))
    else:
        for number in (SOCKET, SOCKETPAIR, CONNECT):
            code += _answer(number, errno.EPERM)
    # clone3 hides its flags behind a pointer: ENOSYS makes the C library use clone, whose flags we see
    code += _answer(CLONE3, errno.ENOSYS)
    if starts_programs:
        code += _refuse_bits(CLONE, 0, _CLONE_NAMESPACES)
    else:
        for number in (EXECVE, EXECVEAT, FORK, VFORK):
            code += _answer(number, errno.EPERM)
        code += _require_bits(CLONE, 0, _CLONE_THREAD)
    if only_process is not None:
        code += _other_processes(only_process)
    if own_files_only:
        code += _other_files(ioctl_types)
    code.append(_statement(_RET, _ALLOW))
    return b"".join(code)


def _other_processes(own: int) -> list[bytes]:
    code: list[bytes] = []
    for number in denied.PROCESSES.values():
        code += _answer(number, errno.EPERM)
    for number in denied.OWN_PROCESS.values():
        code += _allow_only(number, 0, (own,))
    for number in denied.OWN_PROCESS_OR_0.values():
        code += _allow_only(number, 0, (0, own))
    # a descriptor's owner gets signals sent by the kernel
    return code + _deny_values(denied.FCNTL, 1, denied.FCNTL_OWNERS)


def _other_files(ioctl_types: tuple[int, ...]) -> list[bytes]:
    code: list[bytes] = []
    for number in denied.FILES.values():
        code += _answer(number, errno.EPERM)
    code += _answer(denied.OPENAT2, errno.ENOSYS)  # its flags lie behind a pointer too
    code += _truncate_only_what_may_be_written(denied.OPEN, 1)
    code += _truncate_only_what_may_be_written(denied.OPENAT, 2)
    if ioctl_types:
        return code + _allow_ioctls(ioctl_types)
    return code + _allow_only(denied.IOCTL, 1, denied.IOCTLS_ALLOWED)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install(filter_program: bytes) -> None:
    """Put a filter on every thread of this process, for good; filters add up, the strictest answer wins.

    Raises:
        WallError: the kernel or the processor cannot.
    """
    if platform.machine() != "x86_64":
        raise WallError(
            f"GovDesk has no network filter for this processor ({platform.machine()}).",
            code="wall.seccomp-architecture",
            todo="Use an x86-64 workstation.",
        )
    buffer = ctypes.create_string_buffer(filter_program, len(filter_program))
    argument = _Program(len(filter_program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) != 0:  # PR_SET_NO_NEW_PRIVS: a filter without root needs it
        raise WallError("The kernel refused to give up new privileges.", code="wall.no-new-privileges")
    result = libc.syscall(_SYS_SECCOMP, _SET_MODE_FILTER, _FLAG_TSYNC, ctypes.byref(argument))
    if result != 0:
        raise WallError(
            "The kernel refused the filter that keeps GovDesk off the network "
            f"({errno.errorcode.get(ctypes.get_errno(), result)}).",
            code="wall.seccomp",
            kept="Nothing was started.",
            todo="A kernel with CONFIG_SECCOMP_FILTER is needed.",
        )
