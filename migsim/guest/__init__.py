"""Synthetic guests: workloads that dirty memory, the guest that runs them, and devices."""

from __future__ import annotations
