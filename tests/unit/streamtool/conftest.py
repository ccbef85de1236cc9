"""Tests write many small files; none of them has to outlive the machine."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """Let nothing wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)
