from __future__ import annotations

import pytest

from migsim.blockers import BlockerAction, BlockerRegistry, refuses_blockers
from migsim.errors import BlockedError, BusyError, ConfigError, OnlyMigratableError
from migsim.qapi.enums import MigMode, MigrationStatus, RunState

NORMAL, REBOOT, TRANSFER, EXEC = MigMode


def test_new_registry_blocks_nothing():
    registry = BlockerRegistry()
    for mode in MigMode:
        assert registry.reasons(mode) == ()
        assert registry.first_error(mode) is None
        registry.check(mode)


def test_each_operation_covers_its_modes():
    registry = BlockerRegistry()
    registry.add("everywhere")
    registry.add_normal("storage")
    registry.add_modes("ram", [TRANSFER, EXEC])
    registry.add_internal("dump")
    assert registry.reasons(NORMAL) == ("everywhere", "storage", "dump")
    assert registry.reasons(REBOOT) == ("everywhere", "dump")
    assert registry.reasons(TRANSFER) == ("everywhere", "ram", "dump")
    assert registry.reasons(EXEC) == ("everywhere", "ram", "dump")


def test_list_is_oldest_first_and_error_is_the_newest():
    registry = BlockerRegistry()
    for name in ("a", "b", "c"):
        registry.add_normal(name)
    assert registry.reasons(NORMAL) == ("a", "b", "c")
    assert registry.first_error(NORMAL) == "c"
    with pytest.raises(BlockedError) as caught:
        registry.check(NORMAL)
    assert caught.value.reasons == ("c", "a", "b")
    assert caught.value.mode == "normal"


def test_newest_reason_of_the_mode_counts_not_the_newest_of_all():
    registry = BlockerRegistry()
    registry.add_normal("storage")
    registry.add_modes("ram", [TRANSFER])
    assert registry.first_error(NORMAL) == "storage"
    assert registry.first_error(TRANSFER) == "ram"
    assert registry.first_error(REBOOT) is None


def test_devices_come_last_in_reverse_and_the_first_is_the_error():
    registry = BlockerRegistry()
    registry.register_unmigratable("0000:00:01.0/nvme")
    registry.add_normal("storage")
    registry.register_unmigratable("amd-iommu")
    assert registry.reasons(NORMAL) == (
        "storage",
        "non-migratable device: amd-iommu",
        "non-migratable device: 0000:00:01.0/nvme",
    )
    first = registry.first_error(NORMAL)
    assert first is not None
    assert "0000:00:01.0/nvme" in first
    assert not first.startswith("non-migratable device")
    with pytest.raises(BlockedError) as caught:
        registry.check(NORMAL)
    assert caught.value.reasons == (first, "storage", "non-migratable device: amd-iommu")
    assert caught.value.mode is None


@pytest.mark.parametrize("mode", list(MigMode))
def test_device_blocks_every_mode_until_it_is_gone(mode):
    registry = BlockerRegistry()
    device = registry.register_unmigratable("usb-mtp")
    assert registry.reasons(mode) == ("non-migratable device: usb-mtp",)
    registry.unregister(device)
    assert registry.reasons(mode) == ()


def test_error_names_the_mode_only_where_another_mode_would_help():
    registry = BlockerRegistry()
    registry.add_normal("storage")
    everywhere = registry.add("no state")
    with pytest.raises(BlockedError) as caught:
        registry.check(NORMAL)
    assert caught.value.mode is None
    registry.remove(everywhere)
    with pytest.raises(BlockedError) as caught:
        registry.check(NORMAL)
    assert caught.value.mode == "normal"


def test_remove_takes_the_reason_out_of_every_mode_and_may_be_repeated():
    registry = BlockerRegistry()
    handle = registry.add_modes("both", [NORMAL, TRANSFER])
    other = registry.add_normal("other")
    assert handle in registry
    registry.remove(handle)
    registry.remove(handle)
    registry.remove(None)
    registry.unregister(None)
    assert handle not in registry
    assert registry.blockers == (other,)
    assert registry.reasons(TRANSFER) == ()


def test_equal_texts_are_different_blockers():
    registry = BlockerRegistry()
    first = registry.add("same")
    second = registry.add("same")
    assert registry.reasons(NORMAL) == ("same", "same")
    registry.remove(second)
    assert first in registry
    assert registry.reasons(NORMAL) == ("same",)
    one = registry.register_unmigratable("twin")
    registry.register_unmigratable("twin")
    registry.unregister(one)
    assert len(registry.devices) == 1


def test_handle_of_another_registry_is_ignored():
    registry, other = BlockerRegistry(), BlockerRegistry()
    registry.add("mine")
    registry.remove(other.add("mine"))
    assert registry.reasons(REBOOT) == ("mine",)


def test_busy_refuses_whatever_the_modes_and_leaves_nothing_behind():
    busy = True
    registry = BlockerRegistry(busy=lambda: busy)
    for add in (
        registry.add,
        registry.add_normal,
        registry.add_internal,
        lambda reason: registry.add_modes(reason, [TRANSFER]),
    ):
        with pytest.raises(BusyError) as caught:
            add("vmdk image d0")
        assert caught.value.reasons[0].endswith(": vmdk image d0")
    assert registry.blockers == ()
    busy = False
    registry.add("vmdk image d0")
    assert registry.reasons(NORMAL) == ("vmdk image d0",)


def test_remove_works_while_busy():
    busy = False
    registry = BlockerRegistry(busy=lambda: busy)
    handle = registry.add("temporary")
    device = registry.register_unmigratable("device")
    busy = True
    registry.remove(handle)
    registry.unregister(device)
    assert registry.reasons(NORMAL) == ()


def test_only_migratable_is_about_mode_normal():
    registry = BlockerRegistry(only_migratable=True)
    for add in (
        registry.add,
        registry.add_normal,
        registry.register_unmigratable,
        lambda reason: registry.add_modes(reason, [NORMAL, TRANSFER]),
    ):
        with pytest.raises(OnlyMigratableError) as caught:
            add("thing")
        assert caught.value.reasons[0].endswith(": thing")
    registry.add_modes("ram", [TRANSFER])
    registry.add_internal("dump")
    assert registry.reasons(NORMAL) == ("dump",)
    assert registry.reasons(TRANSFER) == ("ram", "dump")


def test_only_migratable_is_looked_at_before_busy():
    registry = BlockerRegistry(only_migratable=True, busy=lambda: True)
    with pytest.raises(OnlyMigratableError):
        registry.add("thing")
    with pytest.raises(BusyError):
        registry.add_internal("dump")


def test_nonsense_is_a_config_error():
    registry = BlockerRegistry()
    with pytest.raises(ConfigError):
        registry.add("")
    with pytest.raises(ConfigError):
        registry.add_modes("nothing", [])
    with pytest.raises(ConfigError):
        registry.register_unmigratable("")


def test_watcher_hears_of_additions_refusals_and_removals():
    log: list[tuple[str, str]] = []
    busy = False
    registry = BlockerRegistry(
        busy=lambda: busy, watcher=lambda action, handle: log.append((action, handle.reason))
    )
    handle = registry.add("9p export")
    device = registry.register_unmigratable("nvme")
    busy = True
    with pytest.raises(BusyError):
        registry.add("second")
    registry.remove(handle)
    registry.remove(handle)
    registry.unregister(device)
    assert log == [
        (BlockerAction.ADDED, "9p export"),
        (BlockerAction.ADDED, "non-migratable device: nvme"),
        (BlockerAction.REFUSED, "second"),
        (BlockerAction.REMOVED, "9p export"),
        (BlockerAction.REMOVED, "non-migratable device: nvme"),
    ]


@pytest.mark.parametrize("status", list(MigrationStatus))
def test_busy_is_any_status_in_which_a_migration_runs(status):
    idle = {"none", "cancelled", "completed", "failed"}
    assert refuses_blockers(RunState.RUNNING, status) is (status.value not in idle)
    assert refuses_blockers(RunState.SAVE_VM, status)
    assert refuses_blockers(RunState.INMIGRATE, status) is (status.value not in idle)
