"""Predictions of real migrations."""
