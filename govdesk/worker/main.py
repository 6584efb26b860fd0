"""The worker's beginning: limits, walls, proof. Only then is native code imported and anything opened.

It defends the rest of GovDesk against what it runs: a stranger's model in native code. It holds no
key, sees no file but the installation, and says nothing but frames.
"""

from __future__ import annotations

from govdesk.domain.frames import ToWorker
from govdesk.process.channel import Channel
from govdesk.sandbox import graphics
from govdesk.sandbox.walls import Wall, raise_and_prove, readable
from govdesk.worker import limits, steering


def run(descriptor: int, gpu: str = "") -> int:
    """Serve one channel until it closes.

    Args:
        descriptor: the inherited end of the channel.
        gpu: the graphics backend whose devices stay reachable; empty: none.

    Returns:
        0 after an orderly end, 1 when the other end sent what is no frame or is gone.

    Raises:
        WallError: a wall cannot be had or does not hold; nothing was opened.
    """
    steering.forget()
    limits.forbid_files(graphics=bool(gpu))
    channel: Channel[ToWorker] = Channel.from_descriptor(descriptor, ToWorker, send_seconds=None)
    if gpu:
        probes = raise_and_prove(Wall.GRAPHICS, readable(), graphics.opening(gpu))
    else:
        probes = raise_and_prove(Wall.CONFINED, readable())
    from govdesk.worker.service import Service  # native code: only behind the walls

    return Service(channel, probes, gpu).run()
