"""Real workers for tests: the same role, command line, environment and ladder as the broker's."""

from __future__ import annotations

import os
import subprocess

from govdesk.domain.frames import FromWorker, WorkerEnded
from govdesk.process import environment, ladder
from govdesk.process.channel import Channel, pair


class DirectBroker:
    """Does for one session what the broker does for its workers, in the test's own process."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0
        self.environment: dict[str, str] = {}
        """Besides what a worker gets: to have a software device taken for a card."""

    def start_worker(self, gpu: str = "") -> Channel[FromWorker]:
        self.stop_worker()
        ours, theirs = pair()
        self.process = subprocess.Popen(
            [
                *environment.command(),
                "--role",
                "worker",
                "--channel",
                str(theirs.fileno()),
                *(("--gpu", gpu) if gpu else ()),
            ],
            pass_fds=(theirs.fileno(),),
            env=environment.for_worker(os.environ, graphics=bool(gpu)) | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        theirs.close()
        self.started += 1
        return Channel(ours, FromWorker)

    def stop_worker(self) -> None:
        if self.process is not None and self.process.returncode is None:
            ladder.stop(self.process, asked=True)

    def worker_end(self, timeout_seconds: float) -> WorkerEnded | None:
        if self.process is None:
            return None
        try:
            code = self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return None
        return WorkerEnded(exit_code=max(code, 0), signal=max(-code, 0))
