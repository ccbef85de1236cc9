"""Migrations that leave RAM where it lies: nothing but device state travels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..units import PAGE_SIZE
from .result import DowntimeParts, Prediction

if TYPE_CHECKING:
    from .hostmodel import HostModel
    from .inputs import Inputs


def predict_without_ram(inputs: Inputs, host: HostModel, model: str) -> Prediction:
    """Return what a migration that leaves RAM where it lies does: device state, small blocks."""
    normal, zero = inputs.own_pages
    total = round(1000 * host.cpr_fixed_s, 3)
    stopped = total if inputs.stops_first else 1000 * (host.stop_s + host.device_s)
    load = 1000 * host.load_after_s(inputs, normal, zero)
    return Prediction(
        model=model,
        status="completed",
        total_time_ms=total,
        downtime_ms=stopped,
        transferred_bytes=inputs.device_state_bytes + normal * (PAGE_SIZE + 8) + zero * 9,
        dirty_sync_count=2,
        normal_pages=normal,
        zero_pages=zero,
        downtime=DowntimeParts(0.0, 1000 * host.device_s, stopped - 1000 * host.device_s, load),
        assumed=inputs.assumed,
        host=host.name,
    )
