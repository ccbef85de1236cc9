"""What a command line forbids, told without starting anything."""

from __future__ import annotations

import pytest

from migsim.cmdline.dryrun import dry_run
from migsim.errors import ConfigError
from migsim.qapi.enums import MigMode
from migsim.qapi.release import Release

RELAXED = ["-blockdev", "driver=vmdk,node-name=d,file.driver=file,file.filename=/nowhere/d"]
UNMIGRATABLE = ["-device", "ivshmem-plain,memdev=m", "-object", "memory-backend-ram,id=m,size=1M"]


def test_a_relaxed_blocker_leaves_the_cpr_modes_free():
    result = dry_run(["-machine", "none", *RELAXED])
    [one] = result.found
    assert (one.applied.feature, one.applied.name, one.certain) == ("vmdk", "d", True)
    assert one.modes == (MigMode.NORMAL,)
    assert result.free() == (MigMode.CPR_REBOOT, MigMode.CPR_TRANSFER)
    assert result.blocking(MigMode.CPR_REBOOT) == ()
    assert result.blocking() == (one,)
    assert result.unread == ("/nowhere/d",)


@pytest.mark.parametrize(
    ("release", "free"),
    [
        (Release.V8_2, {"cpr-reboot"}),
        (Release.V10_0, {"cpr-reboot", "cpr-transfer"}),
        (Release.V11_1, {"cpr-reboot", "cpr-transfer", "cpr-exec"}),
    ],
)
def test_the_release_decides_which_modes_there_are(release, free):
    result = dry_run(["-machine", "none", *RELAXED], release)
    assert {mode.value for mode in result.free()} == free


def test_what_the_guest_decides_is_not_certain():
    words = ["-fsdev", "local,id=f,path=/,security_model=none"]
    words += ["-device", "virtio-9p-pci,fsdev=f,mount_tag=t"]
    [one] = [one for one in dry_run(words).found if one.applied.feature == "9p"]
    assert not one.certain
    assert MigMode.CPR_REBOOT in one.modes


def test_the_program_may_come_first_and_order_is_kept():
    result = dry_run(["/usr/bin/qemu-system-x86_64", *UNMIGRATABLE, *RELAXED])
    assert [one.applied.feature for one in result.blocking(MigMode.NORMAL)] == ["vmdk", "ivshmem"]


def test_nothing_is_created(tmp_path):
    path = tmp_path / "ram"
    memory = f"memory-backend-file,id=m,size=1M,mem-path={path},share=on"
    assert dry_run(["-object", memory, "-machine", "none,memory-backend=m"]).found == ()
    assert not path.exists()


def test_wrong_options_are_an_error_and_unmodelled_ones_are_told():
    with pytest.raises(ConfigError) as caught:
        dry_run(["-no-such-option"])
    assert caught.value.what == "option -no-such-option"
    result = dry_run(["-machine", "isapc"])
    assert [refusal.option for refusal in result.unmodelled]


def test_only_migratable_is_told():
    assert dry_run(["-only-migratable"]).only_migratable
