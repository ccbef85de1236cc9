"""What ``migrate`` refuses because of mode, capabilities, parameters and transport."""

from __future__ import annotations

import pytest

from migsim.errors import CapabilityError
from migsim.qapi.capabilities import CapabilitySet
from migsim.qapi.enums import MigMode
from migsim.qapi.migrate_rules import (
    COMPATIBILITY_RULES,
    TRANSPORT_RULES,
    End,
    MigrateRequest,
    Transport,
    check_compatible,
    check_migrate,
    check_transport,
)
from migsim.qapi.parameters import MigrationParameters
from migsim.qapi.release import Release


def request(transport, *names, end=End.SOURCE, cpr=False, release=Release.DEFAULT, **changes):
    parameters = MigrationParameters(release)
    changes = {name.replace("_", "-"): value for name, value in changes.items()}
    return MigrateRequest(
        end=end,
        transport=Transport(transport),
        parameters=parameters.updated(changes),
        capabilities=CapabilitySet.of(*names, release=release),
        cpr_channel=cpr,
    )


def refusal(*args, check=check_migrate, **kwargs):
    with pytest.raises(CapabilityError) as refused:
        check(request(*args, **kwargs))
    return refused.value.name, refused.value.conflict


@pytest.mark.parametrize("transport", list(Transport))
def test_plain_migration_takes_every_transport(transport):
    for mode in ("normal", "cpr-reboot"):
        check_migrate(request(transport, mode=mode))
    check_migrate(request(transport, end=End.TARGET))


@pytest.mark.parametrize("end", list(End))
def test_mapped_ram_needs_a_file(end):
    for transport in Transport:
        if transport is Transport.FILE:
            check_transport(request(transport, "mapped-ram", end=end))
        else:
            expected = ("mapped-ram", transport.value)
            assert refusal(transport, "mapped-ram", end=end) == expected


@pytest.mark.parametrize("end", list(End))
@pytest.mark.parametrize("names", [["multifd"], ["postcopy-ram", "postcopy-preempt"]])
def test_parallel_channels_need_a_socket(end, names):
    for transport in Transport:
        if transport in ("tcp", "unix", "vsock"):
            check_transport(request(transport, *names, end=end))
        else:
            assert refusal(transport, *names, end=end) == (names[-1], transport.value)


def test_multifd_writes_files_only_at_fixed_places():
    check_migrate(request("file", "multifd", "mapped-ram"))
    check_migrate(request("file", "multifd", "mapped-ram", direct_io=True))
    check_migrate(request("unix", "multifd", direct_io=True))


def test_cpr_transfer_needs_a_stream_and_a_second_channel():
    assert refusal("file", mode="cpr-transfer", cpr=True) == ("mode", "file")
    assert refusal("file", mode="cpr-transfer", end=End.TARGET) == ("mode", "file")
    assert refusal("unix", mode="cpr-transfer") == ("mode", "channels")
    check_migrate(request("exec", mode="cpr-transfer", cpr=True))
    check_migrate(request("unix", mode="cpr-transfer", end=End.TARGET))


def test_a_cpr_channel_makes_the_mode_of_a_target_but_not_of_a_source():
    assert request("file", cpr=True, end=End.TARGET).mode is MigMode.CPR_TRANSFER
    assert refusal("file", cpr=True, end=End.TARGET) == ("mode", "file")
    assert request("file", cpr=True).mode is MigMode.NORMAL
    check_migrate(request("file", cpr=True))


def test_mapped_ram_is_plain_on_the_source():
    zlib, tls = {"multifd_compression": "zlib"}, {"tls_creds": "x"}
    assert refusal("file", "mapped-ram", **zlib) == ("mapped-ram", "multifd-compression")
    assert refusal("file", "mapped-ram", **tls, **zlib) == ("mapped-ram", "tls-creds")
    check_migrate(request("file", "mapped-ram", end=End.TARGET, **tls, **zlib))
    check_migrate(request("file", **tls, **zlib))


@pytest.mark.parametrize("mode", ["cpr-reboot", "cpr-transfer"])
@pytest.mark.parametrize("name", ["postcopy-ram", "dirty-bitmaps", "background-snapshot", "x-colo"])
def test_cpr_goes_alone(mode, name):
    assert refusal("unix", name, mode=mode, cpr=True) == (name, mode)
    check_migrate(request("unix", name, mode=mode, cpr=True, end=End.TARGET))
    check_migrate(request("unix", name))


def test_cpr_reports_in_order():
    assert refusal("unix", "x-colo", "postcopy-ram", mode="cpr-reboot")[0] == "postcopy-ram"
    assert refusal("unix", "x-colo", "dirty-bitmaps", mode="cpr-reboot")[0] == "dirty-bitmaps"


def test_cpr_was_not_alone_before_9_0():
    check_migrate(request("file", "postcopy-ram", mode="cpr-reboot", release=Release.V8_2))


def test_cpr_exec_needs_its_command():
    new = {"release": Release.V11_1, "mode": "cpr-exec"}
    assert refusal("file", **new) == ("mode", "cpr-exec-command")
    check_migrate(request("file", **new, cpr_exec_command=["qemu"]))
    assert refusal("file", "postcopy-ram", **new) == ("postcopy-ram", "cpr-exec")


def test_rdma_refuses_xbzrle_on_the_target_only():
    assert refusal("rdma", "xbzrle", end=End.TARGET) == ("xbzrle", "rdma")
    check_migrate(request("rdma", "xbzrle"))
    check_migrate(request("tcp", "xbzrle", end=End.TARGET))


def test_the_two_halves_are_in_order():
    steps = [rule.step for rule in TRANSPORT_RULES + COMPATIBILITY_RULES]
    assert steps == sorted(steps)
    both = request("file", "multifd", mode="cpr-transfer")
    assert refusal("file", "multifd", mode="cpr-transfer") == ("multifd", "file")
    check_compatible(both)
    late = request("file", "postcopy-ram", mode="cpr-reboot")
    check_transport(late)
    with pytest.raises(CapabilityError):
        check_compatible(late)
