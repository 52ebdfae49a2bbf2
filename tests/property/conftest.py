"""Settings of all property tests."""

from hypothesis import settings

# A machine that is busy elsewhere makes single examples slow, which says nothing about the code.
settings.register_profile("hive", deadline=None)
settings.load_profile("hive")
