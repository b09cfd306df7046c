"""Chat protocols, each described by one file: what its events are called, what they carry, in which order they come."""

from streambench.dialects.dialect import Dialect
from streambench.dialects.loading import bundled_dialects, load_dialect
from streambench.dialects.stream import DialectStream, Event
from streambench.dialects.templates import RenderedRequest, SetupStep

__all__ = ["Dialect", "DialectStream", "Event", "RenderedRequest", "SetupStep", "bundled_dialects", "load_dialect"]
