"""What was seen: one record a stream, how it is filled while the stream runs, and the file it is kept in."""
