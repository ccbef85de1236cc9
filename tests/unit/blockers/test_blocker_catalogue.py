from __future__ import annotations

import pytest

from migsim.blockers import (
    FREE,
    ROWS,
    BlockerRegistry,
    Kind,
    Moment,
    Scope,
    Stage,
    allowed_modes,
    blocked_modes,
    blocking,
    changes,
    register,
    relaxed,
    row,
    section_name,
)
from migsim.errors import ConfigError, OnlyMigratableError
from migsim.qapi.enums import MigMode
from migsim.qapi.release import Release

NORMAL, REBOOT, TRANSFER, EXEC = MigMode
IMAGES = {"vmdk", "vdi", "vpc", "vhdx", "qcow", "parallels", "vvfat"}
TAKEN_BACK = {"9p", "tpm-emulator", "nvmm"}
VFIO = {"vfio", "vfio-multiple"}


def test_first_posting_relaxed_twelve_and_the_merged_series_nine():
    posted, merged = set(relaxed(Stage.FIRST_POSTING)), set(relaxed(Release.V8_2))
    assert len(posted) == 12
    assert len(merged) == 9
    assert merged == IMAGES | {"vhost", "vhost-scsi"}
    assert posted - merged == TAKEN_BACK


def test_vfio_joined_in_9_0_and_makes_eleven():
    assert set(relaxed(Release.parse("9.0"))) - set(relaxed(Release.V8_2)) == VFIO
    for release in (Release.V10_0, Release.V11_1):
        assert len(relaxed(release)) == 11
        assert set(relaxed(release)) == set(relaxed(Release.V8_2)) | VFIO


@pytest.mark.parametrize("feature", sorted(IMAGES))
def test_image_formats_block_normal_only(feature):
    assert blocked_modes(feature) == {NORMAL}
    assert blocked_modes(feature, Release.V8_2) == {NORMAL}
    assert row(feature).source == f"block/{feature}.c"


@pytest.mark.parametrize("feature", sorted(TAKEN_BACK))
def test_what_was_taken_back_blocks_every_mode(feature):
    assert blocked_modes(feature, Stage.FIRST_POSTING) == {NORMAL}
    assert blocked_modes(feature, Release.V8_2) == {NORMAL, REBOOT}
    assert blocked_modes(feature, Release.V10_0) == {NORMAL, REBOOT, TRANSFER}
    assert blocked_modes(feature, Release.V11_1) == set(MigMode)


def test_vfio_over_the_releases():
    assert blocked_modes("vfio", Stage.FIRST_POSTING) == {NORMAL, REBOOT}
    assert blocked_modes("vfio", Release.V8_2) == {NORMAL, REBOOT}
    assert blocked_modes("vfio", Release.parse("9.0")) == {NORMAL}
    assert blocked_modes("vfio") == {NORMAL}


def test_ram_blocks_came_with_cpr_transfer_and_the_safe_profile_covers_exec():
    for feature in ("ram-block", "guest-memfd"):
        assert row(feature).since == "10.0"
        assert blocked_modes(feature, Stage.FIRST_POSTING) == frozenset()
        assert blocked_modes(feature, Release.parse("9.2")) == frozenset()
        assert blocked_modes(feature) == {TRANSFER}
        assert blocked_modes(feature, safe=True) == {TRANSFER}
        assert blocked_modes(feature, Release.V8_2, safe=True) == frozenset()
        assert blocked_modes(feature, Release.V11_1) == {TRANSFER}
        assert blocked_modes(feature, Release.V11_1, safe=True) == {TRANSFER, EXEC}


def test_11_1_freed_vdagent_and_nvme_and_nothing_else_known():
    assert changes(Release.V10_0, Release.V11_1) == dict.fromkeys(
        ("vdagent", "nvme"), (Scope.EVERY_MODE, Scope.NOTHING)
    )
    assert blocked_modes("nvme") == {NORMAL, REBOOT, TRANSFER}
    assert blocked_modes("nvme", Release.V11_1) == frozenset()
    assert row("nvme").until == "11.1"
    assert row("usb-mtp").until is None
    assert row("usb-mtp").since is None


def test_changes_since_8_2():
    names = set(changes(Release.V8_2, Release.V10_0))
    assert names == VFIO | {"ram-block", "guest-memfd"}


def test_every_explicit_row_of_the_spec_is_there():
    explicit = [r for r in ROWS.values() if r.kind is not Kind.DEVICE]
    devices = [r for r in ROWS.values() if r.kind is Kind.DEVICE]
    assert len(explicit) == 33
    assert len(devices) == 12 + 23
    assert [r.feature for r in explicit if r.kind is Kind.INTERNAL] == ["memory-dump"]
    assert all(r.scope(Release.V10_0) is Scope.EVERY_MODE for r in devices)


@pytest.mark.parametrize("feature", ROWS)
def test_rows_are_complete(feature):
    found = row(feature)
    assert found.feature == feature
    for text in (found.title, found.when, found.lift):
        assert text
        assert not text.endswith(".")
    assert found.source.endswith(".c")
    releases = [Release.parse(at) for at, _ in found.history]
    assert releases == sorted(set(releases))
    assert found.title in found.reason()
    assert "'thing0'" in found.reason("thing0")
    assert found.lift in found.reason()


def test_moments_say_what_a_dry_run_cannot_foresee():
    assert row("9p").moment is Moment.GUEST
    assert row("s390-protected").moment is Moment.GUEST
    assert row("memory-dump").moment is Moment.COMMAND
    assert row("vmdk").moment is Moment.CREATION


@pytest.mark.parametrize("feature", FREE)
def test_free_features_block_nothing_and_say_why(feature):
    assert feature not in ROWS
    assert blocked_modes(feature) == frozenset()
    with pytest.raises(ConfigError, match="does not block"):
        row(feature)
    assert register(BlockerRegistry(), feature) is None


def test_unknown_feature_suggests_near_names():
    with pytest.raises(ConfigError, match="vmdk"):
        blocked_modes("vmkd")
    with pytest.raises(ConfigError):
        row("zzzz")


def test_allowed_modes_of_a_whole_machine():
    assert allowed_modes([]) == (NORMAL, REBOOT, TRANSFER)
    assert allowed_modes([], Stage.FIRST_POSTING) == (NORMAL, REBOOT)
    assert allowed_modes(["vmdk", "raw"]) == (REBOOT, TRANSFER)
    assert allowed_modes(["vmdk", "ram-block"]) == (REBOOT,)
    assert allowed_modes(["vmdk", "ram-block"], Release.V11_1) == (REBOOT, EXEC)
    assert allowed_modes(["vmdk", "ram-block"], Release.V11_1, safe=True) == (REBOOT,)
    assert allowed_modes(["nvme"]) == ()


def test_blocking_lists_the_features_of_a_mode():
    assert set(blocking(NORMAL)) - set(blocking(REBOOT)) == set(relaxed())
    assert set(blocking(TRANSFER)) - set(blocking(REBOOT)) == {"ram-block", "guest-memfd"}
    assert "memory-dump" in blocking(REBOOT)
    assert blocking(EXEC) == ()
    assert blocking(TRANSFER, Stage.FIRST_POSTING) == ()


def test_register_uses_the_operation_of_the_row():
    registry = BlockerRegistry()
    register(registry, "vmdk", "d0")
    register(registry, "ivshmem", "iv0")
    register(registry, "ram-block", "pc.bios")
    register(registry, "nvme", section_name("nvme", "0000:00:01.0"))
    assert "'d0'" in registry.reasons(NORMAL)[0]
    assert registry.reasons(REBOOT) == (
        row("ivshmem").reason("iv0"),
        "non-migratable device: 0000:00:01.0/nvme",
    )
    assert registry.reasons(TRANSFER)[1] == row("ram-block").reason("pc.bios")
    assert section_name("amd-iommu") == "amd-iommu"


def test_register_follows_the_release():
    registry = BlockerRegistry()
    assert register(registry, "nvme", release=Release.V11_1) is None
    assert register(registry, "ram-block", release=Release.V8_2) is None
    register(registry, "vfio", release=Release.V8_2)
    assert len(registry.reasons(REBOOT)) == 1
    register(registry, "ram-block", release=Release.V11_1, safe=True)
    assert len(registry.reasons(EXEC)) == 2


def test_only_migratable_takes_a_dump_and_refuses_the_rest():
    registry = BlockerRegistry(only_migratable=True)
    register(registry, "memory-dump")
    register(registry, "ram-block", "ram0")
    for feature in ("vmdk", "ivshmem", "nvme"):
        with pytest.raises(OnlyMigratableError):
            register(registry, feature)
