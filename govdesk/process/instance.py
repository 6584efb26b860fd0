"""One GovDesk per profile: a lock the kernel drops with its holder, a socket that only says "raise"."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from govdesk.config import Profile
from govdesk.errors import HomeError, InstanceRunningError

_RAISE = b"raise"
_MAX_SOCKET_PATH = 100  # sun_path is 108 bytes


class Instance:
    """Held by the broker for its life."""

    def __init__(self, profile: Profile, environment: Mapping[str, str]) -> None:
        """Take the profile's lock.

        Raises:
            InstanceRunningError: another GovDesk holds it.
            HomeError: the lock file cannot be made.
        """
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(profile.lock, flags, 0o600)
        except OSError as error:
            raise HomeError(
                f"The profile's folder {profile.home} cannot be written: {error.strerror}.",
                kept="Nothing was changed.",
                todo="Check the folder's owner and the disk.",
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise InstanceRunningError(
                "GovDesk is already running for this profile.",
                kept="The running one was not disturbed.",
                todo="Use its window, or close it first.",
            ) from error
        self._path = _socket_path(profile, environment)
        self._listener: socket.socket | None = None

    def listen(self) -> int | None:
        """Open the one Unix socket; its descriptor for polling, or None where there is no place for it.

        Without it a second start says that GovDesk is already running, and cannot raise its window.
        """
        if self._path is None:
            return None
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
            listener.bind(str(self._path))
            self._path.chmod(0o600)
            listener.listen(4)
        except OSError:
            listener.close()
            return None
        listener.setblocking(False)
        self._listener = listener
        return listener.fileno()

    def raise_asked(self) -> bool:
        """Take one connection; True when it says "raise" and nothing else."""
        if self._listener is None:
            return False
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            with connection:
                connection.settimeout(0.2)
                return connection.recv(len(_RAISE) + 1) == _RAISE
        return False

    def release(self) -> None:
        """Give the profile back."""
        if self._listener is not None:
            self._listener.close()
            if self._path is not None:
                with contextlib.suppress(OSError):
                    self._path.unlink()
        os.close(self._descriptor)


def ask_to_raise(profile: Profile, environment: Mapping[str, str]) -> bool:
    """Ask the running GovDesk to bring its window to the front; False when nobody listens."""
    path = _socket_path(profile, environment)
    if path is None:
        return False
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1.0)
        connection.connect(str(path))
        connection.sendall(_RAISE)
        return True
    return False


def _socket_path(profile: Profile, environment: Mapping[str, str]) -> Path | None:
    """In the runtime folder, else in the profile; None when the path would be too long for a Unix socket."""
    runtime = environment.get("XDG_RUNTIME_DIR")
    folder = Path(runtime) if runtime and Path(runtime).is_dir() else profile.home
    name = hashlib.sha384(str(profile.home).encode()).hexdigest()[:16]
    path = folder / f"govdesk-{name}.sock"
    return path if len(str(path).encode()) <= _MAX_SOCKET_PATH else None
