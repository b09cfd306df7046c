"""The faults that the fake upstream injects on request: one file per stage, and the catalogue of all of them."""
