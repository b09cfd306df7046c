"""Deliberate defects, one entry each: what a tester of chat servers must detect."""
