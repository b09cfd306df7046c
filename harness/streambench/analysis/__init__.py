"""Figures and verdicts, computed from records alone: no I/O, no clock."""
