"""Hardened processes leave no dump, cannot be looked into, gain no privileges and end with their parent."""

from __future__ import annotations


def test_no_dump_no_privileges_own_files_only(isolated) -> None:
    done = isolated(
        """
import ctypes, os, resource
from govdesk.hardening import harden
libc = ctypes.CDLL(None)
assert libc.prctl(3, 0, 0, 0, 0) == 1  # PR_GET_DUMPABLE, before
harden()
print(libc.prctl(3, 0, 0, 0, 0), libc.prctl(39, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE), oct(os.umask(0)))
"""
    )
    assert done.stdout.split(" ", 2) == ["0", "1", "(0, 0) 0o77\n"], done.stderr


_GENERATIONS = """
import os, signal, sys, time
from govdesk import hardening
reading, writing = os.pipe()
middle = os.fork()
if middle == 0:
    child = os.fork()
    if child == 0:
        %s
        hardening.end_with_parent()
        os.write(writing, b"alive")
        time.sleep(60)
        os._exit(0)
    if %r:
        os.read(reading, 5)
    os._exit(0)
os.waitpid(middle, 0)
os.close(writing)
print(os.read(reading, 5))  # the end of the pipe comes when the child is gone
"""


def test_a_role_ends_with_its_parent(isolated) -> None:
    done = isolated(_GENERATIONS % ("pass", True), timeout=30)
    assert done.stdout.split() == ["b''"], done.stderr


def test_a_role_whose_parent_ended_meanwhile_ends_too(isolated) -> None:
    # the parent ends between the look at it and the order to the kernel
    meanwhile = "answers = [12345, 1]; os.getppid = lambda: answers.pop(0)"
    done = isolated(_GENERATIONS % (meanwhile, False), timeout=30)
    assert done.stdout.split() == ["b''"], done.stderr
