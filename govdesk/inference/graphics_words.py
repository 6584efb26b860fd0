"""Why a graphics card is used or not, in words: for the window's line and for `govdesk doctor`."""

from __future__ import annotations

from govdesk.domain.inference import ComputeCheck
from govdesk.domain.policy import GpuRule
from govdesk.inference.graphics import PASSING, Graphics, Status

_MIB = 1024 * 1024
_NAMES = {"cuda": "CUDA (NVIDIA)", "vulkan": "Vulkan"}
_ORDER = (
    "gpu.policy", "gpu.backend", "gpu.device", "gpu.permission", "gpu.driver", "gpu.probe", "gpu.memory",
    "gpu.load",
)  # fmt: skip
"""Each is looked at only where those before it hold."""
_PROBE_ENDS = {
    "backend.missing": "its library went missing",
    "backend.refused": "its library did not load: the driver's library may be missing or too old",
    "worker.crashed": "the driver crashed",
    "worker.killed": "the driver was ended by the system, perhaps for want of memory",
    "worker.hung": "the driver did not answer in time",
    "worker.garbage": "what came back made no sense",
    "worker.memory": "its process needed more memory than it may have",
    "worker.instruction": "it uses an instruction that this processor lacks",
    "worker.walls": "the driver tried something that the worker's walls do not allow",
    "gpu.probe": "no device of it computed a small task right",
}


def runs_on(graphics: Graphics, threads: int = 0) -> str:
    """What the running worker computes on: `NVIDIA … (24 of 24 layers)`, or the processor and why.

    Args:
        graphics: what was found out about cards.
        threads: how many compute on the processor where there is room; 0: not said.
    """
    used = graphics.used
    if used is not None and used.placement is not None:
        placed = used.placement
        titles = " and ".join(share.device.title for share in placed.shares)
        return f"{titles} ({placed.placed} of {placed.layers} layers)"
    with_threads = f" with {threads} thread{'' if threads == 1 else 's'}" if threads else ""
    return f"the processor{with_threads}: {_why(graphics)}"


def _why(graphics: Graphics) -> str:
    if graphics.rule is GpuRule.OFF:
        return "policy allows no graphics card"
    codes = {status.code for status in graphics.statuses}
    if "gpu.memory" in codes:
        return "the graphics card has too little free memory for this model"
    if codes & set(_PROBE_ENDS):
        return "the graphics card failed; `govdesk doctor` says how"
    if "gpu.load" in codes:
        return "the model did not load on the graphics card; `govdesk doctor` says more"
    return "no graphics card that can be used"


def findings(graphics: Graphics) -> tuple[ComputeCheck, ...]:
    """Why a card is used or not, check by check; of the backends the one that came furthest is told."""
    if graphics.rule is GpuRule.OFF:
        return (
            ComputeCheck(
                "gpu.policy",
                ok=False,
                found="policy says off: models compute on the processor",
                advice="Your organisation may allow cards with inference.gpu in its signed policy.",
            ),
        )
    statuses = [status for status in graphics.statuses if status.code != "gpu.policy"]
    furthest = max(statuses, key=lambda status: _reached(status.code))
    policy = ComputeCheck("gpu.policy", ok=True, found=f"policy says {graphics.rule.value}")
    return (policy, *_steps(furthest), *_walls(graphics.used))


def _walls(used: Status | None) -> tuple[ComputeCheck, ...]:
    """What the running worker may touch besides, because it uses a card."""
    if used is None:
        return ()
    opening = used.look.opening
    kinds = ", ".join(chr(kind) if kind else "0" for kind in opening.ioctl_types) or "none"
    paths = ", ".join(str(path) for path in (*opening.nodes, *opening.files)) or "nothing"
    found = f"the worker's walls leave open: {paths}; ioctls of type {kinds}"
    return (ComputeCheck("gpu.walls", ok=True, found=found),)


def _step(code: str) -> str:
    return "gpu.probe" if code in _PROBE_ENDS else code


def _reached(code: str) -> int:
    return _ORDER.index(_step(code)) if code else len(_ORDER)


def _steps(status: Status) -> tuple[ComputeCheck, ...]:
    """The checks up to the one that failed. Permission is the device's, for people."""
    failed = _step(status.code)
    skipped = "gpu.device" if failed == "gpu.permission" else "gpu.permission"
    steps = _ORDER[1 : _reached(status.code) + 1]
    left_out = {skipped, "gpu.load"} - {failed}  # that a model was loaded is told by where it computes
    return tuple(_finding(step, status) for step in steps if step not in left_out)


def _finding(step: str, status: Status) -> ComputeCheck:
    name, failed = _NAMES[status.look.backend], _step(status.code) == step
    nodes = ", ".join(str(node) for node in status.look.nodes)
    match step:
        case "gpu.backend":
            if failed:
                return ComputeCheck(step, False, f"llama.cpp's {name} backend is not installed", _INSTALL)
            return ComputeCheck(step, True, f"llama.cpp's {name} backend is installed")
        case "gpu.device":
            if failed:
                return ComputeCheck(step, False, f"no graphics device for {name}", _NO_DEVICE)
            return ComputeCheck(step, True, nodes)
        case "gpu.permission":
            return ComputeCheck("gpu.device", False, f"{nodes}: no permission for this account", _PERMISSION)
        case "gpu.driver":
            if failed:
                return ComputeCheck(step, False, f"no driver's library for {name}", _NO_DRIVER)
            return ComputeCheck(step, True, ", ".join(path.name for path in status.look.driver))
        case "gpu.probe":
            if failed:
                end, passing = _PROBE_ENDS[status.code], status.code in PASSING
                advice = _AGAIN if passing else _FAILED
                return ComputeCheck(step, False, f"{name} failed when it was last used: {end}", advice)
            return ComputeCheck(step, True, f"{name} computed a small task right")
        case "gpu.load":
            return ComputeCheck(step, False, f"the model did not load with {name}", _OTHER_MODEL)
        case _:
            return _memory(status, failed=failed)


def _memory(status: Status, *, failed: bool) -> ComputeCheck:
    step, placed = "gpu.memory", status.placement
    if placed is None:
        if failed:
            return ComputeCheck(step, False, "too little memory is free on it", _SMALLER)
        return ComputeCheck(step, True, "not looked at: no model was loaded")
    free = ", ".join(f"{device.title}: {device.free_bytes // _MIB:,} MiB free" for device in status.devices)
    needed = f"the whole model takes {placed.needed_bytes // _MIB:,} MiB"
    layers = f"{placed.placed} of {placed.layers} layers"
    if not failed:
        return ComputeCheck(step, True, f"{free}; {needed}; {layers} are on it")
    why = (
        f"{layers} were to be on it, and did not leave room enough" if placed.shares else "not one layer fits"
    )
    return ComputeCheck(step, False, f"{free}; {needed}; {why}", _SMALLER)


_INSTALL = "Your administrator installs the package with this backend; in a checkout, use `make backends`."
_SMALLER = "Choose a smaller model, or close what else uses the card."
_NO_DEVICE = "There is no card, or the kernel has no driver for it: no /dev/dri/renderD…, no /dev/nvidia0."
_PERMISSION = "An administrator lets this account use it: on most systems by the groups `render` and `video`."
_NO_DRIVER = "Your administrator installs the vendor's driver, or Mesa's, with the loader of Vulkan."
_FAILED = (
    "Models compute on the processor. It is tried again with a new driver, with a new package of GovDesk, "
    "and after the next start of the machine."
)
_AGAIN = (
    "Models compute on the processor until a model is loaded again, or, where it failed in the middle of an "
    "answer, until GovDesk is unlocked or started again: then the card is tried again."
)
_OTHER_MODEL = (
    "It computes on the processor if it loads there. The card is tried again when a model is loaded the next "
    "time; other models may use it."
)
