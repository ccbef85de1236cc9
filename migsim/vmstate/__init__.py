"""Device state: descriptions, their bytes, and the description that a stream carries at its end."""

from __future__ import annotations
