"""Hypothesis strategies for everything that a migration depends on; needs the extra ``testing``.

All of them are derived from the tables that the library itself works from, prefer boundaries, and
shrink towards the default: release 10.0, mode normal, nothing switched on, few pages, no fault.
What has state (workloads, machines) is drawn as a plan, a value whose ``make`` returns a new one:
two sides of a migration need the same guest twice.
"""

from __future__ import annotations

from ...extras import require

require("testing", ("hypothesis",))

from .commands import (  # noqa: E402
    Command,
    Pause,
    command_sequences,
    migration_commands,
    monitor_commands,
    pauses,
)
from .devices import DescribedState, blockers, described_states, devices  # noqa: E402
from .faults import FaultPlan, fault_plans  # noqa: E402
from .guests import (  # noqa: E402
    Content,
    GuestPlan,
    WorkloadPlan,
    contents,
    guest_plans,
    ram_layouts,
    workload_plans,
)
from .streams import streams  # noqa: E402
from .vocabulary import (  # noqa: E402
    any_json,
    any_parameter_changes,
    capability_contexts,
    capability_requests,
    capability_sets,
    edges,
    illegal_capability_sets,
    modes,
    parameter_changes,
    parameter_values,
    releases,
)

__all__ = [
    "Command",
    "Content",
    "DescribedState",
    "FaultPlan",
    "GuestPlan",
    "Pause",
    "WorkloadPlan",
    "any_json",
    "any_parameter_changes",
    "blockers",
    "capability_contexts",
    "capability_requests",
    "capability_sets",
    "command_sequences",
    "contents",
    "described_states",
    "devices",
    "edges",
    "fault_plans",
    "guest_plans",
    "illegal_capability_sets",
    "migration_commands",
    "modes",
    "monitor_commands",
    "parameter_changes",
    "parameter_values",
    "pauses",
    "ram_layouts",
    "releases",
    "streams",
    "workload_plans",
]
