"""The audit writer's loop: one session, one log; every request gets one answer, and a failure stays one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from govdesk.audit import stamp
from govdesk.audit.channels import ToSession
from govdesk.audit.files import Files
from govdesk.audit.record import EntryError
from govdesk.audit.stamp import Stamp
from govdesk.audit.writer import MAX_LOG_BYTES, Writer
from govdesk.domain.frames import (
    AppendRecord,
    AuditFailed,
    FromAudit,
    LogOpened,
    OpenLog,
    Probe,
    Recorded,
    Shutdown,
    ToAudit,
)
from govdesk.errors import AuditClosedError, FrameError


def serve(
    channel: ToSession,
    folder: Path,
    *,
    who: Stamp | None = None,
    max_bytes: int = MAX_LOG_BYTES,
    files: Files | None = None,
    probes: tuple[Probe, ...] = (),
) -> int:
    """Write for one session until it asks to end or its end of the channel closes.

    Args:
        channel: the writer's end.
        folder: the log's folder.
        who: who, when and where; by default this process's own account.
        max_bytes: the size the log may reach.
        files: the seam of the file operations.
        probes: what this process's self-test found, for the session to judge and record.

    Returns:
        The exit code: 0 the log was well to the end, 5 it closed on a failure, 70 the session sent no frames.
    """
    service = _Service(folder, who or stamp.of_this_process(), max_bytes, files, probes)
    try:
        while True:
            received = channel.receive()
            if received is None:
                break
            frame, descriptors = received
            for descriptor in descriptors:
                os.close(descriptor)
            if isinstance(frame, Shutdown):
                break
            channel.send(service.answer(frame))
    except FrameError:
        return 70
    except OSError:  # the session ended between asking and being told
        return service.exit_code
    finally:
        service.close()
    return service.exit_code


class _Service:
    def __init__(
        self, folder: Path, who: Stamp, max_bytes: int, files: Files | None, probes: tuple[Probe, ...]
    ) -> None:
        self._folder = folder
        self._who = who
        self._max_bytes = max_bytes
        self._files = files
        self._probes = probes
        self._writer: Writer | None = None
        self._code = ""

    @property
    def exit_code(self) -> int:
        return 5 if self._code else 0

    def answer(self, frame: ToAudit) -> FromAudit:
        if self._code:
            return AuditFailed(self._code)
        try:
            match frame:
                case OpenLog():
                    return self._open(frame.officers)
                case AppendRecord():
                    return self._append(frame)
                case Shutdown():
                    return self._failed("audit.closed")
        except AuditClosedError as error:
            return self._failed(error.code)
        except EntryError as error:
            return self._failed(error.code)

    def close(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()

    def _open(self, officers: tuple[str, ...]) -> LogOpened:
        if self._writer is None:
            self._writer = Writer(
                self._folder, self._who, officers, max_bytes=self._max_bytes, files=self._files
            )
        return LogOpened(self._writer.log_id, self._writer.next_seq, self._writer.recovered, self._probes)

    def _append(self, frame: AppendRecord) -> FromAudit:
        if self._writer is None:
            return self._failed("audit.not-open")
        written = self._writer.append(frame.entry)
        return Recorded(written.seq, written.line_sha384)

    def _failed(self, code: str) -> AuditFailed:
        self._code = code
        return AuditFailed(code)
