"""Scenarios, arrivals, and the engine that starts streams on schedule and watches itself."""
