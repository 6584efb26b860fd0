"""What the model read of a conversation, sealed on disk: it goes with its conversation, by losing its key.

Each state is one file of a random name, sealed in chunks under a random key of its own. The key, the name and
what the state may be used with are in the encrypted history. A chunk opens only in its place, of its length,
as the last one or not, for its conversation and binding: what was reordered, cut, spliced or exchanged is
refused as a whole.

Everything here can be made again, so nothing is made durable at a cost and nothing that fails is in anybody's
way: a file that is missing, damaged or foreign is one that was never there. Where the machine lacks something
for a moment, memory say, the file stays.

All files together stay within the room there is at every moment: what was used longest ago goes before a new
one is written.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

from govdesk.crypto import KEY_BYTES, CryptoError, Sealer, random_bytes, sha384
from govdesk.domain.ids import ConversationId
from govdesk.domain.prompt_state import KeptState, PromptState
from govdesk.storage.database import Database
from govdesk.storage.files import FILE_MODE

CHUNK_BYTES = 1024 * 1024
QUOTA_BYTES = 2 * 1024**3
"""Most that all files take together."""
FREE_SHARE = 10
"""And most of what would be free on the disk without them: one part in so many."""
_FOLDER_MODE = 0o700
_SUFFIX = ".state"
_UNFINISHED = ".unfinished"
_PLACE = struct.Struct(">8sQ?")
_FORMAT = b"GDSTATE1"
_LACKING = frozenset({errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC})
"""What this machine may lack for a moment: it says nothing of a file."""


class PromptStateFiles:
    """The sealed files of one profile.

    Args:
        database: the open history; its owner closes it.
        folder: where the files are; made when it is needed.
        quota_bytes: most that they take together.
        free_bytes: how much is free on the disk of a folder.
    """

    def __init__(
        self,
        database: Database,
        folder: Path,
        quota_bytes: int = QUOTA_BYTES,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        self._database = database
        self._folder = folder
        self._quota_bytes = quota_bytes
        self._free_bytes = free_bytes

    def kept(self, conversation: ConversationId) -> KeptState | None:
        """What is known of a conversation's state; None when there is none."""
        with self._database.reading() as sql:
            row = sql.execute(
                "SELECT s.binding, s.tokens, s.state_bytes FROM prompt_states AS s"
                " JOIN conversations AS c ON c.seq = s.conversation WHERE c.id = ?",
                (conversation,),
            ).fetchone()
        return None if row is None else KeptState(*row)

    def room(self) -> int:
        """Most bytes that one state may have now, with all others gone."""
        return self._limit() - (self._limit() // CHUNK_BYTES + 1) * Sealer.overhead

    def make_room(self, conversation: ConversationId, state_bytes: int) -> int:
        """Forget what was used longest ago until a state of so many bytes fits beside the rest.

        What is kept of the conversation itself stays until the new state is written, where both fit.

        Returns:
            How many states had to go.

        Raises:
            OSError: it would not fit with all others gone; nothing was forgotten.
        """
        limit, needed = self._limit(), _sealed_bytes(state_bytes)
        if needed > limit:
            raise OSError(errno.ENOSPC, "a state is larger than the room for all")
        with self._database.reading() as sql:
            rows = sql.execute(
                "SELECT s.file, s.file_bytes, c.id = ? FROM prompt_states AS s"
                " JOIN conversations AS c ON c.seq = s.conversation ORDER BY s.used_utc_ns",
                (conversation,),
            ).fetchall()
        others = [(name, size) for name, size, own in rows if not own]
        total, gone = needed + sum(size for _, size in others), 0
        for name, size in others:
            if total <= limit:
                break
            self._drop(name)
            total, gone = total - size, gone + 1
        for name, size in [(name, size) for name, size, own in rows if own]:
            if total + size > limit:
                self._drop(name)
                gone += 1
        return gone

    def _limit(self) -> int:
        """Most bytes that all files may take together now; 0 where the folder cannot be had."""
        try:
            self._folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
            free = self._free_bytes(self._folder)
        except OSError:
            return 0
        with self._database.reading() as sql:
            (taken,) = sql.execute("SELECT coalesce(sum(file_bytes), 0) FROM prompt_states").fetchone()
        return int(min(self._quota_bytes, (free + taken) // FREE_SHARE))

    def keep(
        self,
        conversation: ConversationId,
        state: PromptState,
        binding: bytes,
        now_utc_ns: int,
        late: Callable[[], bool] = lambda: False,
    ) -> None:
        """Seal a state into a file in place of an older one, in the room that `make_room` made.

        Args:
            conversation: whose it is.
            state: stays the caller's.
            binding: what it may be used with.
            now_utc_ns: for what is used last.
            late: asked again and again; once it says so, what is not written yet is given up.

        Raises:
            TimeoutError: it was late.
            OSError: it could not be written; what was kept before is kept.
            GovDeskError: the history could not be written, or the conversation is gone.
        """
        key = random_bytes(KEY_BYTES)
        name = random_bytes(16).hex() + _SUFFIX
        draft = self._folder / (name + _UNFINISHED)
        try:
            written = self._seal(draft, state, key, _bound_to(conversation, binding), late)
            before = self._name_of(conversation)
            draft.rename(self._folder / name)
            with self._database.writing() as sql:
                sql.execute(
                    "INSERT OR REPLACE INTO prompt_states (conversation, key, file, binding, tokens,"
                    " state_bytes, file_bytes, used_utc_ns) SELECT seq, ?, ?, ?, ?, ?, ?, ?"
                    " FROM conversations WHERE id = ?",
                    (
                        key,
                        name,
                        binding,
                        state.tokens,
                        state.state_bytes,
                        written,
                        now_utc_ns,
                        conversation,
                    ),
                )
        except BaseException:
            self._remove(draft.name, name)
            raise
        self._remove(before)
        if self.kept(conversation) is None:  # it was deleted meanwhile
            self._remove(name)

    def take(
        self, conversation: ConversationId, new_memfd: Callable[[int], int], now_utc_ns: int
    ) -> PromptState | None:
        """Open a conversation's state; None when there is none, or it is not what was sealed.

        Args:
            conversation: whose it is.
            new_memfd: makes a memfd of so many bytes.
            now_utc_ns: for what is used last.

        Returns:
            The state; its descriptor, which nobody can write to any more, is the caller's.

        Raises:
            OSError: this machine has no memory or no descriptors for it now; the file may be good.
        """
        with self._database.reading() as sql:
            row = sql.execute(
                "SELECT s.key, s.file, s.binding, s.tokens, s.state_bytes FROM prompt_states AS s"
                " JOIN conversations AS c ON c.seq = s.conversation WHERE c.id = ?",
                (conversation,),
            ).fetchone()
        if row is None:
            return None
        key, name, binding, tokens, size = row
        descriptor = new_memfd(size)
        try:
            self._open(self._folder / name, descriptor, size, key, _bound_to(conversation, binding))
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL)
            with self._database.writing() as sql:
                sql.execute("UPDATE prompt_states SET used_utc_ns = ? WHERE file = ?", (now_utc_ns, name))
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, MemoryError):
                raise OSError(errno.ENOMEM, "no memory to open a state") from error
            lacking = isinstance(error, OSError) and error.errno in _LACKING
            if isinstance(error, OSError | CryptoError) and not lacking:
                return None
            raise
        return PromptState(descriptor, tokens, size)

    def drop(self, conversation: ConversationId) -> bool:
        """Forget a conversation's state: its key and its file; False when there was none."""
        name = self._name_of(conversation)
        if not name:
            return False
        self._drop(name)
        return True

    def clear(self) -> int:
        """Forget all states; how many files went."""
        with self._database.writing() as sql:
            sql.execute("DELETE FROM prompt_states")
        return self.sweep()

    def sweep(self) -> int:
        """Remove files that no row knows, and rows whose file is gone; how many files went."""
        with self._database.reading() as sql:
            names = {name for (name,) in sql.execute("SELECT file FROM prompt_states").fetchall()}
        there = {path.name for path in self._folder.iterdir()} if self._folder.is_dir() else set()
        left = {name for name in there - names if name.endswith((_SUFFIX, _SUFFIX + _UNFINISHED))}
        self._remove(*left)
        for name in names - there:
            self._drop(name)
        return len(left)

    def _seal(
        self, draft: Path, state: PromptState, key: bytes, bound_to: bytes, late: Callable[[], bool]
    ) -> int:
        sealer, written, at, number = Sealer(key), 0, 0, 0
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(draft, flags, FILE_MODE), "wb", buffering=0) as file:
            while at < state.state_bytes:
                if late():
                    raise TimeoutError("there is no time left")
                part = os.pread(state.descriptor, min(CHUNK_BYTES, state.state_bytes - at), at)
                if not part:
                    raise OSError("the state is shorter than it was")
                at += len(part)
                place = _PLACE.pack(_FORMAT, number, at == state.state_bytes) + bound_to
                written += _write_all(file.fileno(), sealer.seal(number, part, bound_to=place))
                number += 1
        return written

    @staticmethod
    def _open(path: Path, descriptor: int, size: int, key: bytes, bound_to: bytes) -> None:
        sealer, at, number = Sealer(key), 0, 0
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb", buffering=0) as file:
            while at < size:
                wanted = min(CHUNK_BYTES, size - at)
                sealed = os.pread(
                    file.fileno(), wanted + sealer.overhead, number * (CHUNK_BYTES + sealer.overhead)
                )
                place = _PLACE.pack(_FORMAT, number, at + wanted == size) + bound_to
                part = sealer.open(number, sealed, bound_to=place)
                if len(part) != wanted:
                    raise CryptoError("cut")
                os.pwrite(descriptor, part, at)
                at, number = at + wanted, number + 1
            if os.fstat(file.fileno()).st_size != size + number * sealer.overhead:
                raise CryptoError("longer than it was")

    def _name_of(self, conversation: ConversationId) -> str:
        with self._database.reading() as sql:
            row = sql.execute(
                "SELECT s.file FROM prompt_states AS s JOIN conversations AS c ON c.seq = s.conversation"
                " WHERE c.id = ?",
                (conversation,),
            ).fetchone()
        return "" if row is None else str(row[0])

    def _drop(self, name: str) -> None:
        """The key first: without it the file is noise."""
        with self._database.writing() as sql:
            sql.execute("DELETE FROM prompt_states WHERE file = ?", (name,))
        self._remove(name)

    def _remove(self, *names: str) -> None:
        for name in names:
            if name:
                with contextlib.suppress(OSError):
                    (self._folder / name).unlink()


def _sealed_bytes(state_bytes: int) -> int:
    """What a state's file takes."""
    return state_bytes + -(-state_bytes // CHUNK_BYTES) * Sealer.overhead


def _bound_to(conversation: ConversationId, binding: bytes) -> bytes:
    return sha384(len(conversation).to_bytes(4, "big"), conversation.encode(), binding)


def _write_all(descriptor: int, sealed: bytes) -> int:
    rest = memoryview(sealed)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    return len(sealed)
