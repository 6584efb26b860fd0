"""The audit writer's process: confined to the log's folder before it opens anything."""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
from pathlib import Path

from govdesk import config
from govdesk.domain.frames import ToAudit
from govdesk.process.channel import Channel
from govdesk.process.environment import close_unknown
from govdesk.sandbox import landlock
from govdesk.sandbox.walls import Wall, raise_and_prove, readable

_WHO_AND_WHEN = (
    Path("/etc/passwd"),
    Path("/etc/nsswitch.conf"),
    Path("/proc/sys/kernel/random/boot_id"),
)


def run(descriptor: int, arguments: list[str]) -> int:
    """Serve one session's channel until it closes.

    Args:
        descriptor: the inherited end of the channel.
        arguments: `--folder PATH`.

    Raises:
        WallError: a wall cannot be had or does not hold.
    """
    close_unknown(frozenset({descriptor}))
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True, type=Path)
    folder: Path = parser.parse_args(arguments).folder
    with contextlib.suppress(OSError):  # the writer explains a folder it cannot use
        folder.mkdir(mode=config.PROFILE_MODE, exist_ok=True)
        status = folder.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and status.st_mode & 0o077:
            folder.chmod(config.PROFILE_MODE)  # behind the walls nothing changes a mode
    channel: Channel[ToAudit] = Channel.from_descriptor(descriptor, ToAudit, send_seconds=None)
    probes = raise_and_prove(
        Wall.CONFINED, (*readable(*_WHO_AND_WHEN), landlock.Rule(folder, landlock.WRITE))
    )
    from govdesk.audit.daemon import serve  # native code: only behind the walls

    return serve(channel, folder, probes=probes)
