"""A migration as it happened: samples, events and run states, of a machine here or elsewhere."""

from .recording import Moment, Recording, Span
from .sample import Sample
from .simulated import record_migration
from .trace import trace_events, write_trace

__all__ = [
    "Moment",
    "Recording",
    "Sample",
    "Span",
    "record_migration",
    "trace_events",
    "write_trace",
]
