"""Chat protocols as data: where an event's name and content are, its grammar, schemas and invariants."""
