"""System-call filters without root and without libseccomp: no network, no exec, no way round them.

The filter is a deny-list on x86-64: foreign architectures and the x32 table are killed, every
channel to a network or to another process answers EPERM. Built by hand as classic BPF
(seccomp(2), Documentation/userspace-api/seccomp_filter.rst) and installed on all threads at once.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

from govdesk.errors import WallError

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

# classic BPF: load word at absolute offset, jump if equal / greater-or-equal / any bit set, return
_LD, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_OFFSET_NR, _OFFSET_ARCH, _OFFSET_ARG0 = 0, 4, 16  # struct seccomp_data, low half of args[0]

ALWAYS_DENIED = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "pidfd_getfd": 438, "kcmp": 312,
    "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
    "add_key": 248, "request_key": 249, "keyctl": 250,
    "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "mount_setattr": 442, "unshare": 272, "setns": 308,
    "open_by_handle_at": 304, "swapon": 167, "swapoff": 168, "reboot": 169, "acct": 163, "quotactl": 179,
    "kexec_load": 246, "kexec_file_load": 320, "init_module": 175, "finit_module": 313, "delete_module": 176,
    "iopl": 172, "ioperm": 173, "modify_ldt": 154, "personality": 135, "uselib": 134, "_sysctl": 156,
    "fanotify_init": 300, "lookup_dcookie": 212, "nfsservctl": 180, "vmsplice": 278,
}  # fmt: skip
SOCKET, CONNECT, SOCKETPAIR = 41, 42, 53
LISTENING = {"bind": 49, "listen": 50, "accept": 43, "accept4": 288}
EXECVE, EXECVEAT, FORK, VFORK, CLONE, CLONE3 = 59, 322, 57, 58, 56, 435


def _statement(code: int, k: int) -> bytes:
    return struct.pack("<HBBI", code, 0, 0, k)


def _jump(code: int, k: int, if_true: int, if_false: int) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, k)


def _answer(number: int, error: int) -> list[bytes]:
    return [_jump(_JEQ, number, 0, 1), _statement(_RET, _ERRNO | error)]


def program(*, unix_sockets: bool, listening: bool, starts_programs: bool) -> bytes:
    """The filter as bytes of `struct sock_filter` (8 each).

    Args:
        unix_sockets: new AF_UNIX sockets may be made and connected; no other family, ever.
        listening: a Unix socket may be bound and listened on (the broker's "raise the window").
        starts_programs: fork and exec stay possible (the broker).
    """
    code = [
        _statement(_LD, _OFFSET_ARCH),
        _jump(_JEQ, _AUDIT_ARCH_X86_64, 1, 0),
        _statement(_RET, _KILL),
        _statement(_LD, _OFFSET_NR),
        _jump(_JGE, _X32_BIT, 0, 1),
        _statement(_RET, _KILL),
    ]
    for number in ALWAYS_DENIED.values():
        code += _answer(number, errno.EPERM)
    if not listening:
        for number in LISTENING.values():
            code += _answer(number, errno.EPERM)
    if unix_sockets:
        for number in (SOCKET, SOCKETPAIR):
            code += [
                _jump(_JEQ, number, 0, 4),
                _statement(_LD, _OFFSET_ARG0),
                _jump(_JEQ, _AF_UNIX, 0, 1),
                _statement(_RET, _ALLOW),
                _statement(_RET, _ERRNO | errno.EPERM),
            ]
    else:
        for number in (SOCKET, SOCKETPAIR, CONNECT):
            code += _answer(number, errno.EPERM)
    if not starts_programs:
        for number in (EXECVE, EXECVEAT, FORK, VFORK):
            code += _answer(number, errno.EPERM)
        # clone3 hides its flags behind a pointer: ENOSYS makes the C library use clone, whose flags we see
        code += _answer(CLONE3, errno.ENOSYS)
        code += [
            _jump(_JEQ, CLONE, 0, 4),
            _statement(_LD, _OFFSET_ARG0),
            _jump(_JSET, _CLONE_THREAD, 0, 1),
            _statement(_RET, _ALLOW),
            _statement(_RET, _ERRNO | errno.EPERM),
        ]
    code.append(_statement(_RET, _ALLOW))
    return b"".join(code)


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
