from __future__ import annotations

import pytest

from migsim.host import SURVIVAL, SURVIVES, Fate, HostEvent, Loss, RamKind

QUIT, KEXEC, POWER = HostEvent
KEPT, LOST, IF_SYNCED = Fate


def test_table_is_total_and_has_one_row_a_kind():
    assert [row.kind for row in SURVIVAL] == list(RamKind)
    assert set(SURVIVES) == {(kind, event) for kind in RamKind for event in HostEvent}


@pytest.mark.parametrize(
    ("kind", "fates"),
    [
        (RamKind.ANONYMOUS, (LOST, LOST, LOST)),
        (RamKind.MEMFD, (LOST, LOST, LOST)),
        (RamKind.TMPFS, (KEPT, LOST, LOST)),
        (RamKind.TMPFS_PKRAM, (KEPT, KEPT, LOST)),
        (RamKind.DAX, (KEPT, KEPT, IF_SYNCED)),
        (RamKind.MEMFD_LUO, (KEPT, KEPT, LOST)),
        (RamKind.DISK, (KEPT, KEPT, IF_SYNCED)),
    ],
)
def test_fates(kind, fates):
    assert tuple(SURVIVES[kind, event] for event in (QUIT, KEXEC, POWER)) == fates


@pytest.mark.parametrize("kind", list(RamKind))
def test_a_worse_event_never_keeps_more(kind):
    order = [KEPT, IF_SYNCED, LOST]
    ranks = [order.index(SURVIVES[kind, event]) for event in (QUIT, KEXEC, POWER)]
    assert ranks == sorted(ranks)


def test_rows_say_what_is_left_and_how_to_find_what_was_kept():
    assert all(row.then and row.found_by for row in SURVIVAL)


def test_loss_reads_well():
    loss = Loss(1.5, KEXEC, RamKind.TMPFS, "/h/shm/ram0", 4096, ("vm0", "vm1"))
    assert str(loss) == "1.500 s: kexec took tmpfs /h/shm/ram0 of vm0, vm1"
    assert str(Loss(0, POWER, RamKind.MEMFD, "ram0", 1)) == "0.000 s: power loss took memfd ram0"
