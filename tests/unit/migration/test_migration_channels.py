"""Multifd, XBZRLE and the return path in the engines, in virtual time and without sockets."""

from __future__ import annotations

import numpy as np
import pytest
from vms import MIB, PAGE, make, waiting

from migsim.channel.group import InputGroup, OutputGroup
from migsim.channel.memory import MemoryInput, MemoryOutput
from migsim.errors import ChannelError, ConfigError, StreamError
from migsim.guest.workloads import HotCold
from migsim.migration.answers import Answers, Replies
from migsim.qapi.enums import MigrationStatus

SIZE = 8 * MIB
CHANNELS = 3


def busy(seed: int = 5) -> HotCold:
    return HotCold(
        64, 1500, hot_pages=20, hot_share=0.5, rate_pages_per_s=3_000.0, seed=seed
    )  # fmt: skip


def source(*capabilities: str, **parameters: object):
    vm = make(SIZE, workload=busy())
    generator = np.random.default_rng(3)
    vm.ram["ram0"].view()[32:1500] = generator.integers(0, 256, (1468, PAGE), np.uint8)
    vm.set_capabilities([(name, True) for name in capabilities])
    vm.set_parameters({name.replace("_", "-"): value for name, value in parameters.items()})
    return vm


def save_multifd(**parameters: object):
    """Migrate a busy guest over channels; return it and what each channel took."""
    vm = source("multifd", multifd_channels=CHANNELS, max_bandwidth=20 * MIB, **parameters)
    channels = [MemoryOutput() for _ in range(1 + CHANNELS)]
    vm.migrate(OutputGroup(channels[0], tuple(channels[1:])))
    vm.run_until(lambda: not vm.source.running)
    assert vm.source.status.value is MigrationStatus.COMPLETED, vm.source.error
    return vm, [channel.getvalue() for channel in channels]


def load_multifd(recorded: list[bytes], **parameters: object):
    vm = waiting(SIZE)
    vm.set_capabilities([("multifd", True)])
    vm.set_parameters({name.replace("_", "-"): value for name, value in parameters.items()})
    main, *further = (MemoryInput(data) for data in recorded)
    vm.migrate_incoming(InputGroup(main, tuple(further)), exit_on_error=False)
    vm.run_until(lambda: not vm.incoming.running)
    return vm


@pytest.mark.parametrize("detection", ["legacy", "none", "multifd"])
@pytest.mark.parametrize("compression", ["none", "zlib"])
def test_multifd_there_and_back(detection, compression):
    settings = {"zero_page_detection": detection, "multifd_compression": compression}
    vm, recorded = save_multifd(**settings)
    there = load_multifd(recorded, multifd_channels=CHANNELS, **settings)
    assert there.incoming.error is None
    assert there.ram_sha256() == vm.ram_sha256()
    ram = vm.query_migrate()["ram"]
    assert ram["multifd-bytes"] == sum(map(len, recorded[1:]))
    assert ram["transferred"] == sum(map(len, recorded))
    assert ram["dirty-sync-count"] > 2
    in_main = ram["precopy-bytes"] + ram["downtime-bytes"]
    assert (in_main > 8 * ram["duplicate"] > 0) is (detection == "legacy")


def test_multifd_keeps_to_the_rate():
    vm, _ = save_multifd(downtime_limit=10)
    ram = vm.query_migrate()["ram"]
    windows = vm.query_migrate()["total-time"] // 100
    packet = 128 * (PAGE + 8)
    # A window ends with the packet that exceeds it; what is left goes out at full speed.
    assert ram["transferred"] <= (windows + 1) * (2 * MIB + 2 * packet) + MIB


def test_multifd_is_the_same_every_time():
    assert save_multifd()[1] == save_multifd()[1]


def test_a_lost_packet_is_found():
    _, recorded = save_multifd()
    recorded[2] = recorded[2][:-1344]  # its last synchronisation point
    there = load_multifd(recorded, multifd_channels=CHANNELS)
    assert isinstance(there.incoming.error, StreamError)
    assert not there.ram["ram0"].view().any()


@pytest.mark.parametrize("further", [0, CHANNELS - 1, CHANNELS + 1])
def test_as_many_channels_as_the_parameter_says(further):
    vm = source("multifd", multifd_channels=CHANNELS)
    group = OutputGroup(MemoryOutput(), tuple(MemoryOutput() for _ in range(further)))
    with pytest.raises(ConfigError):
        vm.migrate(group)
    assert vm.source.status.value is MigrationStatus.NONE


def test_xbzrle_sends_what_changed():
    vm = source("xbzrle", max_bandwidth=20 * MIB, downtime_limit=1)
    channel = MemoryOutput()
    vm.migrate(channel)
    vm.advance(2.0)
    vm.set_parameters({"downtime-limit": 2000})
    vm.run_until(lambda: not vm.source.running)
    answer = vm.query_migrate()
    cache = answer["xbzrle-cache"]
    assert cache["pages"] > cache["overflow"] >= 0
    assert 0 < cache["bytes"] < PAGE * cache["pages"]
    assert cache["cache-miss"] > 0
    assert answer["ram"]["transferred"] == len(channel.getvalue())
    there = waiting(SIZE)
    there.load(MemoryInput(channel.getvalue()))
    assert there.ram_sha256() == vm.ram_sha256()


class TwoWays(MemoryOutput):
    """A channel whose other side answers what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.back = b""
        self.answers_ended = False

    def take_answers(self) -> bytes:
        back, self.back = self.back, b""
        return back


class Answering(MemoryInput):
    """A source that keeps what it is answered."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.said = b""

    def seekable(self):
        return None

    def answer(self, data: bytes) -> None:
        self.said += data


PONG_1 = bytes.fromhex("0002 0004 00000001")
ACK = bytes.fromhex("0007 0000")
SHUT, SHUT_FAILED = bytes.fromhex("0001 0004 00000000"), bytes.fromhex("0001 0004 00000001")


def test_the_last_word_ends_the_migration():
    vm = source("return-path")
    channel = TwoWays()
    vm.migrate(channel)
    vm.advance(5.0)
    assert vm.source.status.value is MigrationStatus.DEVICE
    channel.back = PONG_1 + SHUT[:3]
    vm.advance(1.0)
    assert vm.source.status.value is MigrationStatus.DEVICE
    channel.back = SHUT[3:]
    vm.advance(1.0)
    assert vm.source.status.value is MigrationStatus.COMPLETED
    assert vm.query_migrate()["downtime"] >= 1000  # it lasts until the target is done


@pytest.mark.parametrize("last", [SHUT_FAILED, b"\0\x63\0\0", b""], ids=["failed", "odd", "ended"])
def test_a_target_that_fails_at_the_end(last):
    vm = source("return-path")
    channel = TwoWays()
    vm.migrate(channel)
    vm.advance(5.0)
    channel.back, channel.answers_ended = last, True
    vm.advance(1.0)
    assert vm.source.status.value is MigrationStatus.FAILED
    assert isinstance(vm.source.error, ChannelError)
    assert vm.query_status()["status"] == "running"


def test_the_guest_runs_until_the_target_is_ready():
    vm = source("return-path", "switchover-ack")
    channel = TwoWays()
    vm.migrate(channel)
    vm.advance(20.0)
    assert vm.query_status()["status"] == "running"
    channel.back = PONG_1 + ACK
    vm.advance(1.0)
    assert vm.source.status.value is MigrationStatus.DEVICE
    channel.back = SHUT
    vm.advance(1.0)
    assert vm.source.status.value is MigrationStatus.COMPLETED


def test_what_a_target_says():
    vm = source("return-path", "switchover-ack")
    channel = TwoWays()
    channel.back = ACK
    vm.migrate(channel)
    vm.advance(5.0)
    there = waiting(SIZE)
    there.set_capabilities([("return-path", True), ("switchover-ack", True)])
    back = Answering(channel.getvalue())
    there.load(back)
    assert back.said == ACK + PONG_1 + SHUT
    cut = Answering(channel.getvalue()[:-2000])
    again = waiting(SIZE)
    with pytest.raises(StreamError):
        again.load(cut)
    assert cut.said == PONG_1 + SHUT_FAILED


def test_pings_need_a_return_path():
    replies = Replies(Answering(b""))
    with pytest.raises(StreamError):
        replies.pong(1, 0)
    replies.open(0)
    with pytest.raises(StreamError):
        replies.open(8)


def test_answers_in_pieces():
    channel = TwoWays()
    answers = Answers(channel)
    for byte in PONG_1 + ACK + SHUT:
        assert not answers.over
        channel.back = bytes([byte])
        answers.listen()
    assert answers.pongs == [1]
    assert answers.switchover_acked
    assert answers.over
    answers.check()
