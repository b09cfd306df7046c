"""The other side: plans for the fake upstream, its journal, and how the two sides' clocks relate."""
