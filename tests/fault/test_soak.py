"""A short run of the soak: nothing is left over, nothing is stuck."""

from __future__ import annotations

from fault.soak import run


def test_migrations_with_cancels_and_faults_leave_nothing_behind():
    found = list(run(migrations=120, seed=7, every=40))
    (_, first, _), *_, (_, last, soak) = found
    assert last.descriptors == first.descriptors
    assert last.threads == 1
    assert last.resident_bytes < first.resident_bytes + (24 << 20)
    assert {"completed", "failed", "cancelled"} <= {status for _, status in soak.outcomes}
