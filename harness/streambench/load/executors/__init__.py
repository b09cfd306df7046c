"""The kinds of phase, one file each, with its keys, its value and what runs it; a new one is named here."""

from __future__ import annotations

from streambench.load.executors.closed import CLOSED
from streambench.load.executors.keys import PhaseType
from streambench.load.executors.open import OPEN
from streambench.load.executors.steps import STAIRS
from streambench.load.executors.sweep import SEARCH
from streambench.load.executors.trace import REPLAY

# The first is meant where none of their keys is given.
PHASE_TYPES: tuple[PhaseType, ...] = (CLOSED, STAIRS, OPEN, REPLAY, SEARCH)
