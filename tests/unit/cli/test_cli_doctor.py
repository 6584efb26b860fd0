"""`govdesk doctor` says why a graphics card is used or not, and never stops GovDesk for it."""

from __future__ import annotations

from types import SimpleNamespace

from govdesk.cli import doctor
from govdesk.domain.inference import Finding


def test_each_finding_is_a_check_that_stops_nothing() -> None:
    found = (
        Finding("gpu.policy", ok=True, found="policy says auto"),
        Finding("gpu.device", ok=False, found="no graphics device for Vulkan", advice="Look at it."),
    )
    checks = doctor._graphics(SimpleNamespace(graphics_findings=lambda: found))
    assert [(check.id, check.ok, check.found, check.advice) for check in checks] == [
        ("gpu.policy", True, "policy says auto", ""),
        ("gpu.device", False, "no graphics device for Vulkan", "Look at it."),
    ]
    assert {check.severity for check in checks} == {"cat3"}
