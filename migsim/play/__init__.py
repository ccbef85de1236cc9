"""A page on this machine that plays simulated migrations: ``migsim play``."""

from .answers import Wish, play_migration
from .server import PlayServer

__all__ = ["PlayServer", "Wish", "play_migration"]
