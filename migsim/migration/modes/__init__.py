"""One small policy per migration mode: modes differ by policy, not by engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import ParameterError
from .base import ModePolicy
from .cpr_reboot import CprReboot
from .cpr_transfer import CprTransfer
from .normal import Normal

if TYPE_CHECKING:
    from ...qapi.enums import MigMode

POLICIES: dict[MigMode, ModePolicy] = {
    policy.mode: policy for policy in (Normal(), CprReboot(), CprTransfer())
}
"""The modes that migsim can run."""


def policy_for(mode: MigMode) -> ModePolicy:
    """Return the policy of ``mode``.

    Raises:
        ParameterError: the mode has a name but no policy in migsim yet.
    """
    try:
        return POLICIES[mode]
    except KeyError:
        known = " or ".join(str(known.value) for known in POLICIES)
        raise ParameterError("mode", mode.value, f"a mode that migsim can run: {known}") from None


__all__ = ["POLICIES", "CprReboot", "CprTransfer", "ModePolicy", "Normal", "policy_for"]
