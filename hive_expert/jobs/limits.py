"""A limit beside each input of a stranger's. SPEC section 14."""

from __future__ import annotations

from dataclasses import dataclass

FILE_NAME_CHARACTERS = 200
METADATA_PAIRS = 16
METADATA_KEY_CHARACTERS = 64
METADATA_VALUE_CHARACTERS = 512
CUSTOM_ID_CHARACTERS = 128
REPORTED_PROBLEMS = 100
"""Broken lines that are reported of one file; that there are more is said."""
MOST_PROBLEMS = REPORTED_PROBLEMS + 1
"""That are looked for: one more than reported, to know that there are more."""
LONGEST_WINDOW_S = 30 * 86400
ATTEMPTS = 4
"""How often a request is asked that the server fails on."""
BUSY_ATTEMPTS = 60
"""How often one is that the server has no room for: for about half an hour."""


@dataclass(frozen=True, slots=True)
class JobLimits:
    """What one agent may put on this server."""

    file_bytes: int = 200 * 2**20
    line_bytes: int = 4 * 2**20
    """Of one request; the door's limit for direct ones."""
    requests: int = 50_000
    """In one batch."""
    stored_bytes: int = 4 * 2**30
    """In all files of one agent together."""
    files: int = 1000
    open_batches: int = 100
    uploads: int = 4
    """At once, of all agents."""
    agent_uploads: int = 2
    """Of these, one agent's."""
    upload_seconds: float = 600.0
    """For one file to arrive."""
    streams: int = 64
    """Event streams at once, of all agents."""
    agent_streams: int = 16
    """Of these, one agent's."""
