"""Fixtures of other tests that these need as well."""

from __future__ import annotations

from tests.jobs.conftest import new_database as new_database
