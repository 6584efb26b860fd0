"""Landlock: what files a role may touch, decided by the kernel (landlock(7)).

Also refuses TCP (ABI 4), abstract Unix sockets and signals to other processes (ABI 6) where the
kernel knows them; UDP is seccomp's part.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from govdesk.errors import WallError

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_VERSION = 1
_RULE_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_ABI_1 = (1 << 13) - 1  # execute … make_sym
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15  # ABI 2, 3, 5
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_TCP = 0b11
_SCOPE_ABSTRACT_UNIX, _SCOPE_SIGNAL = 1, 2

READ = _READ_FILE | _READ_DIR
WRITE = READ | (_ABI_1 & ~_EXECUTE) | _REFER | _TRUNCATE
EXECUTE = _EXECUTE | READ
DEVICE = _READ_FILE | _WRITE_FILE | _IOCTL_DEV


@dataclass(frozen=True, slots=True)
class Rule:
    """`rights` (READ, WRITE, …) for all beneath `path`; a path that is not there gives no right."""

    path: Path
    rights: int


def abi() -> int:
    """The kernel's Landlock version; 0 when it has none."""
    libc = ctypes.CDLL(None, use_errno=True)
    version: int = libc.syscall(_CREATE_RULESET, None, 0, _CREATE_VERSION)
    return max(version, 0)


def restrict(rules: tuple[Rule, ...], *, execute_only: bool = False) -> None:
    """Allow this process the rules and nothing else, for good.

    Args:
        rules: what stays allowed.
        execute_only: only starting programs is restricted, files stay as they are (the broker).

    Raises:
        WallError: the kernel has no Landlock or refused.
    """
    version = abi()
    if version < 1:
        raise WallError(
            "This kernel has no Landlock, which confines GovDesk's parts to their files.",
            code="wall.landlock-missing",
            kept="Nothing was started.",
            todo="A Linux kernel from 5.13 on with Landlock switched on is needed.",
        )
    handled = _EXECUTE if execute_only else _ABI_1
    if not execute_only:
        handled |= (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
        handled |= _IOCTL_DEV if version >= 5 else 0
    network = _TCP if version >= 4 and not execute_only else 0
    scoped = _SCOPE_ABSTRACT_UNIX | _SCOPE_SIGNAL if version >= 6 and not execute_only else 0
    attribute = struct.pack("<QQQ", handled, network, scoped)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    libc = ctypes.CDLL(None, use_errno=True)
    ruleset = libc.syscall(_CREATE_RULESET, attribute, size, 0)
    if ruleset < 0:
        raise _refused("create")
    try:
        for rule in rules:
            _add(libc, ruleset, rule, handled)
        if libc.syscall(_RESTRICT_SELF, ruleset, 0) != 0:
            raise _refused("restrict")
    finally:
        os.close(ruleset)


def _add(libc: ctypes.CDLL, ruleset: int, rule: Rule, handled: int) -> None:
    try:
        parent = os.open(rule.path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights = rule.rights & handled
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            rights &= _FILE_RIGHTS
        attribute = struct.pack("<Qi", rights, parent)
        if rights and libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, attribute, 0) != 0:
            raise _refused("add")
    finally:
        os.close(parent)


def _refused(step: str) -> WallError:
    name = errno.errorcode.get(ctypes.get_errno(), "?")
    return WallError(f"The kernel refused Landlock ({step}: {name}).", code="wall.landlock")
