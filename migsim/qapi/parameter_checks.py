"""What a whole set of parameters must satisfy, in the order in which QEMU looks.

Only the first failure is reported, so the order can be seen.  Source: spec parameters.md section
1; the place of the checks that only one of 8.2 and 11.1 has is not known and shows nowhere.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Final

from ..errors import ParameterError
from .enums import Capability, MultiFDCompression

if TYPE_CHECKING:
    from .parameters import MigrationParameters

    CrossCheck = Callable[[MigrationParameters, MigrationParameters, AbstractSet[Capability]], None]


def throttle_in_order(
    new: MigrationParameters, stored: MigrationParameters, capabilities: AbstractSet[Capability]
) -> None:
    """Refuse a largest throttle below the first one, whichever of both was changed."""
    if new.max_cpu_throttle < new.cpu_throttle_initial:
        raise ParameterError(
            "max-cpu-throttle",
            new.max_cpu_throttle,
            f"a whole number from cpu-throttle-initial ({new.cpu_throttle_initial}) to 99",
        )


def zero_copy_sends_plain(
    new: MigrationParameters, stored: MigrationParameters, capabilities: AbstractSet[Capability]
) -> None:
    """Refuse compression and TLS while zero-copy-send is on."""
    if Capability.ZERO_COPY_SEND in capabilities:
        _plain(new, "zero-copy-send is on")


def mapped_ram_is_not_locked(
    new: MigrationParameters, stored: MigrationParameters, capabilities: AbstractSet[Capability]
) -> None:
    """Refuse everything while mapped-ram is on and compression or TLS is *stored*.

    The new values do not count: with mapped-ram on, compression can be set, and from then on
    nothing can, not even no compression, until mapped-ram is off.
    """
    if Capability.MAPPED_RAM in capabilities:
        _plain(stored, "mapped-ram is on; switch that off first")


def _plain(parameters: MigrationParameters, why: str) -> None:
    if parameters.multifd_compression is not MultiFDCompression.NONE:
        compression = parameters.multifd_compression.value
        raise ParameterError("multifd-compression", compression, f"none, as {why}")
    if parameters.tls:
        raise ParameterError("tls-creds", parameters.tls_creds, f"no credentials, as {why}")


TYPE_CHECKS: Final[tuple[str, ...]] = (
    "announce-initial",
    "announce-max",
    "announce-rounds",
    "announce-step",
    "compress-level",
    "compress-threads",
    "compress-wait-thread",
    "decompress-threads",
    "throttle-trigger-threshold",
    "cpu-throttle-initial",
    "cpu-throttle-increment",
    "cpu-throttle-tailslow",
    "tls-creds",
    "tls-hostname",
    "tls-authz",
    "max-bandwidth",
    "avail-switchover-bandwidth",
    "downtime-limit",
    "x-checkpoint-delay",
    "block-incremental",
    "multifd-channels",
    "xbzrle-cache-size",
    "max-postcopy-bandwidth",
    "max-cpu-throttle",
    "multifd-compression",
    "multifd-zlib-level",
    "multifd-qatzip-level",
    "multifd-zstd-level",
    "block-bitmap-mapping",
    "x-vcpu-dirty-limit-period",
    "vcpu-dirty-limit",
    "mode",
    "zero-page-detection",
    "direct-io",
    "x-rdma-chunk-size",
    "cpr-exec-command",
)
"""All names in the order in which types are checked (seen on QEMU 10.0.2)."""

CHECKS: Final[tuple[str | CrossCheck, ...]] = (
    "compress-level",
    "compress-threads",
    "decompress-threads",
    "throttle-trigger-threshold",
    "cpu-throttle-initial",
    "cpu-throttle-increment",
    "max-bandwidth",
    "avail-switchover-bandwidth",
    "downtime-limit",
    "multifd-channels",
    "multifd-zlib-level",
    "multifd-qatzip-level",
    "multifd-zstd-level",
    "xbzrle-cache-size",
    "max-cpu-throttle",
    throttle_in_order,
    "announce-initial",
    "announce-max",
    "announce-rounds",
    "announce-step",
    "block-bitmap-mapping",
    zero_copy_sends_plain,
    mapped_ram_is_not_locked,
    "x-vcpu-dirty-limit-period",
    "vcpu-dirty-limit",
    "x-rdma-chunk-size",
)
"""Names stand for the range of that parameter; functions look at several."""


def check_all(
    new: MigrationParameters, stored: MigrationParameters, capabilities: AbstractSet[Capability]
) -> None:
    """Do nothing if ``new`` may replace ``stored`` while ``capabilities`` are on.

    Raises:
        ParameterError: the first check that fails.
    """
    for check in CHECKS:
        if isinstance(check, str):
            new.check_range(check)
        else:
            check(new, stored, capabilities)
