"""The cases: one file an area, each readable as a table of contents."""
