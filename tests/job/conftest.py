"""Settings of the property tests: on a busy machine a slow example is no failure."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("busy", deadline=None)
settings.load_profile("busy")
