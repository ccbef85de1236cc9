"""The table of migration parameters: one row each, as attributes of a class.

Rows stand in the order in which the human monitor prints them (seen on QEMU 10.0.2).  Rows marked
11.1 were compared with 11.1.3; rows that ended with 9.1 are read from the schema of 8.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..units import GIB, MIB, PAGE_SIZE
from .bitmap_mapping import BitmapMapping
from .enums import MigMode, MultiFDCompression, ZeroPageDetection, modes_of
from .parameter import Parameter
from .values import Boolean, Choice, Mapped, Text, TextList, Unsigned

if TYPE_CHECKING:
    from .release import Release

MAX_DOWNTIME_MS: Final = 2_000_000


def _compressions(release: Release) -> tuple[MultiFDCompression, ...]:
    return tuple(MultiFDCompression)


def _detections(release: Release) -> tuple[ZeroPageDetection, ...]:
    return tuple(ZeroPageDetection)


_INT64_LIMIT: Final = 1 << 63
_PERCENT_TO_99 = Unsigned(8, 1, 99)
_ANY_SIZE = Unsigned(64, sizes=True)


class ParameterTable:
    """All rows; ``MigrationParameters`` inherits them, which gives its values their types."""

    __slots__ = ()

    announce_initial = Parameter(
        name="announce-initial",
        type=Unsigned(64, 0, 100_000, sizes=True),
        default=50,
        unit="ms",
        hmp_unit_since="4.0",
        hmp_multiplier=1,
        since="4.0",
        global_name="announce-initial",
        doc="delay before the first self-announcement after a load",
    )
    announce_max = Parameter(
        name="announce-max",
        type=Unsigned(64, 0, 100_000, sizes=True),
        default=550,
        unit="ms",
        hmp_unit_since="4.0",
        hmp_multiplier=1,
        since="4.0",
        global_name="announce-max",
        doc="longest delay between self-announcements",
    )
    announce_rounds = Parameter(
        name="announce-rounds",
        type=Unsigned(64, 0, 1000, sizes=True),
        default=5,
        hmp_multiplier=1,
        since="4.0",
        global_name="announce-rounds",
        doc="number of self-announcements",
    )
    announce_step = Parameter(
        name="announce-step",
        type=Unsigned(64, 1, 10_000, sizes=True),
        default=100,
        unit="ms",
        hmp_unit_since="4.0",
        hmp_multiplier=1,
        since="4.0",
        global_name="announce-step",
        doc="growth of the delay per self-announcement",
    )
    compress_level = Parameter(
        name="compress-level",
        type=Unsigned(8, 0, 9),
        default=1,
        since="2.4",
        until="9.1",
        global_name="x-compress-level",
        doc="level of the compression threads",
    )
    compress_wait_thread = Parameter(
        name="compress-wait-thread",
        type=Boolean(),
        default=True,
        since="3.1",
        until="9.1",
        global_name="x-compress-wait-thread",
        doc="whether to wait for a free compression thread, or send the page as it is",
    )
    compress_threads = Parameter(
        name="compress-threads",
        type=Unsigned(8, 1, 255),
        default=8,
        since="2.4",
        until="9.1",
        global_name="x-compress-threads",
        doc="number of compression threads",
    )
    decompress_threads = Parameter(
        name="decompress-threads",
        type=Unsigned(8, 1, 255),
        default=2,
        since="2.4",
        until="9.1",
        global_name="x-decompress-threads",
        doc="number of decompression threads",
    )
    throttle_trigger_threshold = Parameter(
        name="throttle-trigger-threshold",
        type=Unsigned(8, 1, 100),
        default=50,
        unit="%",
        since="5.0",
        global_name="x-throttle-trigger-threshold",
        doc="bytes dirtied per byte sent in a period that count as not converging",
    )
    cpu_throttle_initial = Parameter(
        name="cpu-throttle-initial",
        type=_PERCENT_TO_99,
        default=20,
        unit="%",
        since="2.7",
        global_name="x-cpu-throttle-initial",
        doc="share of time taken from the processors by the first throttle step",
    )
    cpu_throttle_increment = Parameter(
        name="cpu-throttle-increment",
        type=_PERCENT_TO_99,
        default=10,
        unit="%",
        since="2.7",
        global_name="x-cpu-throttle-increment",
        doc="what each further throttle step adds",
    )
    cpu_throttle_tailslow = Parameter(
        name="cpu-throttle-tailslow",
        type=Boolean(),
        default=False,
        since="5.1",
        global_name="x-cpu-throttle-tailslow",
        doc="whether the last throttle steps are smaller",
    )
    max_cpu_throttle = Parameter(
        name="max-cpu-throttle",
        type=_PERCENT_TO_99,
        default=99,
        unit="%",
        since="3.1",
        global_name="max-cpu-throttle",
        doc="largest throttle, at least ``cpu-throttle-initial``",
    )
    tls_creds = Parameter(
        name="tls-creds",
        type=Text(),
        default="",
        since="2.7",
        global_name="tls-creds",
        doc="id of the credentials object; TLS is used if it is not empty",
    )
    tls_hostname = Parameter(
        name="tls-hostname",
        type=Text(),
        default="",
        since="2.7",
        global_name="tls-hostname",
        doc="host name that the target's certificate must have",
    )
    max_bandwidth = Parameter(
        name="max-bandwidth",
        type=_ANY_SIZE,
        default=128 * MIB,
        unit="bytes/second",
        hmp_unit_since="2.8",
        hmp_multiplier=MIB,
        hmp_limit=_INT64_LIMIT,
        since="2.8",
        global_name="x-max-bandwidth",
        doc="rate limit of precopy; 0 is no limit",
    )
    avail_switchover_bandwidth = Parameter(
        name="avail-switchover-bandwidth",
        type=_ANY_SIZE,
        default=0,
        unit="bytes/second",
        hmp_unit_since="8.2",
        hmp_multiplier=MIB,
        hmp_limit=_INT64_LIMIT,
        since="8.2",
        global_name="avail-switchover-bandwidth",
        doc="bandwidth assumed for the switchover decision; 0 is the measured one",
    )
    downtime_limit = Parameter(
        name="downtime-limit",
        type=Unsigned(64, 0, MAX_DOWNTIME_MS),
        default=300,
        unit="ms",
        hmp_unit_since="2.8",
        hmp_multiplier=1,
        since="2.8",
        global_name="x-downtime-limit",
        doc="downtime that switchover aims at, and the first ``expected-downtime``",
    )
    x_checkpoint_delay = Parameter(
        name="x-checkpoint-delay",
        type=Unsigned(32),
        default=20_000,
        unit="ms",
        hmp_unit_since="2.8",
        since="2.8",
        global_name="x-checkpoint-delay",
        doc="period of the checkpoints of COLO",
    )
    block_incremental = Parameter(
        name="block-incremental",
        type=Boolean(),
        default=False,
        since="2.10",
        until="9.1",
        global_name=None,
        doc="whether block migration sends only the top image",
    )
    multifd_channels = Parameter(
        name="multifd-channels",
        type=Unsigned(8, 1, 255),
        default=2,
        since="4.0",
        global_name="multifd-channels",
        doc="number of multifd channels; fixed when a migration starts",
    )
    multifd_compression = Parameter(
        name="multifd-compression",
        type=Choice(MultiFDCompression, _compressions),
        default=MultiFDCompression.NONE,
        since="5.0",
        global_name="multifd-compression",
        doc="codec of multifd payload",
    )
    multifd_zlib_level = Parameter(
        name="multifd-zlib-level",
        type=Unsigned(8, 0, 9),
        default=1,
        since="5.0",
        hmp_shown=False,
        global_name="multifd-zlib-level",
        doc="compression level of zlib",
    )
    multifd_qatzip_level = Parameter(
        name="multifd-qatzip-level",
        type=Unsigned(8, 1, 9),
        default=1,
        since="9.2",
        hmp_shown=False,
        global_name="multifd-qatzip-level",
        doc="compression level of qatzip; can be set without that library",
    )
    multifd_zstd_level = Parameter(
        name="multifd-zstd-level",
        type=Unsigned(8, 0, 20),
        default=1,
        since="5.0",
        hmp_shown=False,
        global_name="multifd-zstd-level",
        doc="compression level of zstd",
    )
    zero_page_detection = Parameter(
        name="zero-page-detection",
        type=Choice(ZeroPageDetection, _detections),
        default=ZeroPageDetection.MULTIFD,
        absent=ZeroPageDetection.LEGACY,
        since="9.0",
        global_name="zero-page-detection",
        doc="who looks for pages of zeroes; with none every page is sent as it is",
    )
    xbzrle_cache_size = Parameter(
        name="xbzrle-cache-size",
        type=Unsigned(64, PAGE_SIZE, power_of_two=True, sizes=True),
        default=64 * MIB,
        unit="bytes",
        hmp_unit_since="2.11",
        hmp_multiplier=1,
        hmp_limit=_INT64_LIMIT,
        since="2.11",
        global_name="xbzrle-cache-size",
        doc="cache of sent pages that xbzrle makes differences with",
    )
    max_postcopy_bandwidth = Parameter(
        name="max-postcopy-bandwidth",
        type=_ANY_SIZE,
        default=0,
        unit="bytes/second",
        hmp_unit_since="11.1",
        hmp_multiplier=1,
        since="3.0",
        global_name="max-postcopy-bandwidth",
        doc="rate limit of postcopy; 0 is no limit",
    )
    tls_authz = Parameter(
        name="tls-authz",
        type=Text(),
        default="",
        since="4.0",
        global_name="tls-authz",
        doc="id of the object that decides which client certificates a target accepts",
    )
    block_bitmap_mapping = Parameter[BitmapMapping | None](
        name="block-bitmap-mapping",
        type=Mapped(),
        default=None,
        since="5.2",
        doc="aliases of nodes and bitmaps for dirty-bitmaps; never set is the identity",
    )
    x_vcpu_dirty_limit_period = Parameter(
        name="x-vcpu-dirty-limit-period",
        type=Unsigned(64, 1, 1000),
        default=1000,
        unit="ms",
        hmp_unit_since="8.1",
        hmp_multiplier=1,
        since="8.1",
        dashed_in_errors=True,
        global_name="x-vcpu-dirty-limit-period",
        doc="period of the dirty rate measurement of dirty-limit",
    )
    vcpu_dirty_limit = Parameter(
        name="vcpu-dirty-limit",
        type=Unsigned(64, 1),
        default=1,
        unit="MB/s",
        hmp_unit_since="8.1",
        hmp_multiplier=1,
        since="8.1",
        global_name="vcpu-dirty-limit",
        doc="dirty rate that dirty-limit leaves to each virtual processor",
    )
    mode = Parameter(
        name="mode",
        type=Choice(MigMode, modes_of),
        default=MigMode.NORMAL,
        since="8.2",
        global_name="mode",
        doc="what the migration is for",
    )
    direct_io = Parameter(
        name="direct-io",
        type=Boolean(),
        default=False,
        since="9.1",
        global_name=None,
        doc="whether multifd writes mapped-ram files past the page cache",
    )
    cpr_exec_command = Parameter[tuple[str, ...]](
        name="cpr-exec-command",
        type=TextList(),
        default=(),
        since="10.2",
        doc="command line of the new QEMU in mode cpr-exec, program first",
    )
    x_rdma_chunk_size = Parameter(
        name="x-rdma-chunk-size",
        type=Unsigned(64, MIB, GIB, power_of_two=True, sizes=True),
        default=MIB,
        unit="bytes",
        hmp_unit_since="11.1",
        hmp_multiplier=1,
        since="11.1",
        global_name="x-rdma-chunk-size",
        doc="bytes registered at once by rdma, the same on both ends",
    )
