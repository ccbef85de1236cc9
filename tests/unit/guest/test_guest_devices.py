"""Devices: saving, loading, hooks, and loads that leave no trace when they fail."""

from __future__ import annotations

import pytest

from migsim.errors import ConfigError, DeviceError, IncompatibleError, StreamError
from migsim.guest.devices import Device, DeviceBlocker, save_order
from migsim.guest.guest import Guest
from migsim.guest.state import GuestDevice
from migsim.guest.synthetic import (
    COUNTER,
    blocking_device,
    counter_device,
    nic_device,
    unmigratable_device,
)
from migsim.guest.workloads import PageCounter, SequentialSweep
from migsim.qapi.enums import MigMode
from migsim.ram import RamBackend, RAMBlock
from migsim.vmstate.described import decode_body, encode_body
from migsim.vmstate.entries import parse_device


def busy_nic() -> Device:
    nic = nic_device(mac=b"\1\2\3\4\5\6")
    nic.values |= {
        "rings": [{"size": 256, "head": 3, "tail": 255}, {"size": 256, "head": 0, "tail": 1}],
        "pending": b"frame",
        "offload_flags": 5,
        "multicast_filter": 1 << 4095 | 1,
    }
    return nic


@pytest.mark.parametrize("make", [counter_device, nic_device, busy_nic])
def test_what_one_device_saves_another_loads(make) -> None:
    source, target = make(), counter_device() if make is counter_device else nic_device()
    body, _ = source.save()
    assert target.load(b".." + body + b"\x7e", 2, source.description.version_id) == 2 + len(body)
    assert target.values == source.values


@pytest.mark.parametrize("make", [counter_device, nic_device, busy_nic])
def test_the_description_of_a_device_decodes_what_it_saved(make) -> None:
    body, entry = make().save()
    decoded, end = decode_body(parse_device(entry).body, body)
    assert (end, encode_body(decoded)) == (len(body), body)


def test_subsections_follow_the_values() -> None:
    _, plain = nic_device().save()
    _, busy = busy_nic().save()
    assert "subsections" not in plain
    names = [sub["vmsd_name"] for sub in busy["subsections"]]
    assert names == ["migsim-nic/offload", "migsim-nic/multicast"]


def test_an_older_version_leaves_the_newer_fields_as_they_are() -> None:
    target = counter_device()
    target.values["alarm"] = 5
    assert target.load(b"\0" * 7 + b"\x09\1", 0, 1) == 9
    assert target.values == {"value": 9, "running": True, "alarm": 5}
    with pytest.raises(IncompatibleError):
        target.load(bytes(17), 0, 3)


def test_a_refused_load_leaves_the_device_as_it_was() -> None:
    source, target = busy_nic(), nic_device()
    source.values["rings"][0]["head"] = 256
    before = target.snapshot()
    body, _ = source.save()
    with pytest.raises(DeviceError, match="post_load"):
        target.load(body, 0, 3)
    assert target.values == before
    with pytest.raises(StreamError):
        target.load(body[:-1], 0, 3)
    assert target.values == before


def test_another_ring_size_does_not_fit() -> None:
    source, target = busy_nic(), nic_device()
    source.values["rings"][1]["size"] = 512
    body, _ = source.save()
    with pytest.raises(IncompatibleError) as caught:
        target.load(body, 0, 3, base=0x1000)
    assert caught.value.offset == 0x1000 + 6 + 1 + 4 + 4 + 6
    assert caught.value.section == target.name


def test_a_snapshot_is_independent_and_can_be_used_twice() -> None:
    nic = busy_nic()
    snapshot = nic.snapshot()
    for _ in range(2):
        nic.values["rings"][0]["head"] = 9
        nic.values["link_up"] = False
        nic.restore(snapshot)
        assert nic.values["rings"][0]["head"] == 3
        assert nic.values["link_up"] is True


def test_hooks_run_around_saving_and_loading() -> None:
    calls = []
    device = Device(
        "dev",
        COUNTER,
        counter_device().values,
        pre_save=lambda d: calls.append(("pre_save", d.values["value"])),
        post_load=lambda d: calls.append(("post_load", d.values["value"])),
    )
    body, _ = device.save()
    device.load(body[:7] + b"\5" + body[8:], 0, 2)
    assert calls == [("pre_save", 0), ("post_load", 5)]


def test_a_device_without_state_can_neither_be_saved_nor_loaded() -> None:
    device = unmigratable_device()
    assert not device.migratable
    with pytest.raises(DeviceError):
        device.save()
    with pytest.raises(DeviceError):
        device.load(b"", 0, 0)


def test_blockers_of_a_device() -> None:
    blockers = (DeviceBlocker("why", (MigMode.NORMAL,)), DeviceBlocker("always"))
    assert blocking_device("dev", *blockers).blockers == blockers
    assert counter_device().blockers == ()


def test_sections_come_by_priority_then_age() -> None:
    devices = [counter_device(str(n)) for n in range(4)]
    devices[2].priority = 5
    devices[3].priority = -1
    assert [device.name for device in save_order(devices)] == ["2", "0", "1", "3"]


@pytest.mark.parametrize(("name", "instance"), [("", 0), ("n" * 256, 0), ("n", -1), ("n", 1 << 32)])
def test_names_and_numbers_without_room_in_a_header(name: str, instance: int) -> None:
    with pytest.raises(ConfigError):
        counter_device(name, instance_id=instance)


def test_a_mac_address_has_six_bytes() -> None:
    with pytest.raises(ConfigError):
        nic_device(mac=b"12345")


def sweeping(rate: float = 1000) -> Guest:
    block = RAMBlock("ram0", RamBackend("ram0", 16 * 4096))
    return Guest(SequentialSweep(0, 15, rate_pages_per_s=rate), block)


def test_the_guest_itself_travels_as_a_section() -> None:
    source, target = sweeping(), sweeping()
    source.run(1 / 3)
    body, _ = GuestDevice(source).save()
    assert GuestDevice(target).load(body, 0, 1) == len(body) == 22
    assert target.get_state() == source.get_state()
    assert target.writes == 333


def test_a_guest_of_another_workload_is_refused_and_stays_where_it_was() -> None:
    source, target = sweeping(), sweeping(999)
    source.run(1)
    target.run(0.5)
    before = target.get_state()
    device = GuestDevice(target)
    body, _ = GuestDevice(source).save()
    with pytest.raises(DeviceError, match="another workload"):
        device.load(body, 0, 1)
    assert target.get_state() == before


def test_a_loaded_guest_can_be_put_back() -> None:
    source, target = sweeping(), sweeping()
    source.run(1)
    target.run(0.25)
    device = GuestDevice(target)
    snapshot = device.snapshot()
    body, _ = GuestDevice(source).save()
    device.load(body, 0, 1)
    assert target.writes == 1000
    device.restore(snapshot)
    assert target.writes == 250


def test_a_sleeping_guest_travels_as_a_section() -> None:
    def counting() -> Guest:
        block = RAMBlock("ram0", RamBackend("ram0", 4096))
        return Guest(PageCounter(rate_pages_per_s=1, first=0, pages=1, suspends=True), block)

    source, target = counting(), counting()
    source.run(100)
    body, _ = GuestDevice(source).save()
    GuestDevice(target).load(body, 0, 1)
    assert target.asleep
