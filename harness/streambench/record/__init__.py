"""What was observed: one record per stream, how it is filled while the stream runs, and the file that holds it."""
