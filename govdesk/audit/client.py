"""The session's way to the audit writer: it returns after the record is durable, or it stays closed.

Implements `chat.ports.AuditLog`. The first failure, silence or surprise closes it for good: a
session that cannot record does nothing that needs a record.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

from govdesk.audit import failures, record
from govdesk.audit.channels import ToWriter
from govdesk.domain.frames import AppendRecord, AuditFailed, FromAudit, LogOpened, OpenLog, Recorded, ToAudit
from govdesk.domain.ids import RecordSeq
from govdesk.domain.record import Entry
from govdesk.errors import AuditClosedError, FrameError

ANSWER_SECONDS = 10.0


class AuditClient:
    """Safe from any thread: one request is under way at a time.

    Args:
        channel: the session's end.
        answer_seconds: how long the writer may take before the log counts as closed.
    """

    def __init__(self, channel: ToWriter, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._channel = channel
        self._answer_seconds = answer_seconds
        self._asking = threading.Lock()
        self._next_seq: int | None = None
        self._code = ""

    @property
    def closed_code(self) -> str:
        """Why the log is closed; empty while it takes records."""
        return self._code

    def open(self, officers: tuple[str, ...] = ()) -> LogOpened:
        """Open the log, or make it and seal its first key to the officers' PEM keys.

        Raises:
            AuditClosedError: it cannot be opened.
        """
        with self._asking:
            answer = self._ask(OpenLog(officers))
            if not isinstance(answer, LogOpened):
                raise self._close("audit.frame")
            self._next_seq = answer.next_seq
            return answer

    def append(self, entry: Entry) -> RecordSeq:
        """Record durably; the action may start only after this returned.

        Raises:
            AuditClosedError: it is not durable; do nothing that needed it.
            EntryError: a record may not say this; nothing was sent, the log stays open.
        """
        record.check(entry)
        with _uncut(), self._asking:
            answer = self._ask(AppendRecord(entry))
            if not isinstance(answer, Recorded) or self._next_seq is None or answer.seq < self._next_seq:
                raise self._close("audit.frame")
            self._next_seq = answer.seq + 1
            return RecordSeq(answer.seq)

    def require_open(self) -> None:
        """Find out, without waiting, whether the writer is still there; costs one look at the channel.

        Raises:
            AuditClosedError: it has gone, or spoke without being asked: nothing that needs it may go on.
        """
        if self._code:
            raise failures.closed(self._code)
        if self._asking.acquire(blocking=False):  # whoever asks just now finds out by itself
            try:
                if self._channel.readable():
                    raise self._close("audit.gone")
            finally:
                self._asking.release()

    def _ask(self, frame: ToAudit) -> FromAudit:
        if self._code:
            raise failures.closed(self._code)
        try:
            self._channel.send(frame)
            received = self._channel.receive(self._answer_seconds)
        except TimeoutError as error:
            raise self._close("audit.silent") from error
        except FrameError as error:
            raise self._close("audit.frame") from error
        except OSError as error:
            raise self._close("audit.gone") from error
        if received is None:
            raise self._close("audit.gone")
        answer, descriptors = received
        if descriptors:
            raise self._close("audit.frame")
        if isinstance(answer, AuditFailed):
            raise self._close(answer.code)
        return answer

    def _close(self, code: str) -> AuditClosedError:
        self._code = code
        return failures.closed(code)


@contextlib.contextmanager
def _uncut() -> Iterator[None]:
    """A signal whose handler raises waits: half an exchange would close the log for what comes after."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
