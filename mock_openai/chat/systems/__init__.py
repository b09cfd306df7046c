"""The five chat systems, one file each: their routes, their events, and in which order they come."""
