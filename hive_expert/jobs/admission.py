"""How many requests of batches may be in the engine. SPEC section 14.

vLLM's priorities order those that wait, and take the place of those that run only when the KV cache
is full, not when a batch is (`max_num_seqs`). So room is kept free for whoever comes next and waits
for his answer.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Room:
    """How the places of the engine's batch are divided.

    Law: direct requests always find `head_room` places free beyond those they have, as far as there
    are any; batches have one at least, so that they come to an end.
    """

    places: int = 64
    """Requests that the engine works on together."""
    jobs: int = 48
    """Of them batches may have, when nobody else asks."""
    head_room: int = 16
    """Places kept free for direct requests."""

    def for_jobs(self, direct: int) -> int:
        """Places that batches may have beside this many direct requests."""
        return max(1, min(self.jobs, self.places - self.head_room - direct))


def room_of(places: int, jobs: int | None = None) -> Room:
    """The room of an engine: batches may have three quarters of it, or as many as are given."""
    most = max(1, places * 3 // 4) if jobs is None else min(jobs, places)
    return Room(places, most, min(places - most, max(1, places // 4)) if places > most else 0)
