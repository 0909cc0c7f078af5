"""Environment variables by which tasks hear from whatever carries them, and which it sets for no other reason."""

from __future__ import annotations

CHECKPOINT = "FLUXPMIX_CHECKPOINT"  # what a restarted process is to go on from; `supervisor.c` sets it, too
