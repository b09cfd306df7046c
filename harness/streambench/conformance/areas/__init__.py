"""The cases: one file per area, each readable as a table of contents."""
