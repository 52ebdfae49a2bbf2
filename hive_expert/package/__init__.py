"""The `.expert` package: its container, its signature, whom to trust, and what was verified."""
