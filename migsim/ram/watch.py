"""Who wants to know before a guest writes to its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Watch(Protocol):
    """Told before pages are written, as userfaultfd tells it; costs nothing when there is none."""

    def about_to_write(self, pfns: NDArray[np.int64]) -> None:
        """The pages ``pfns`` (int64, any order, repeats allowed) still have their old content."""
        ...


@runtime_checkable
class Gate(Watch, Protocol):
    """A watch that keeps a guest from pages that are not there yet."""

    def room_for(self, pfns: NDArray[np.int64]) -> int:
        """Return how many of these touches, in their order, can be made now."""
        ...
