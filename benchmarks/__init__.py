"""Benchmarks: `make bench`.  Each is measured beside a reference; the ratio is the result."""
