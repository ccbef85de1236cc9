"""Monitors in process: QMP and the human monitor on one machine."""
