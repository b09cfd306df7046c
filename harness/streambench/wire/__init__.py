"""Bytes to messages, exactly as specified: event streams, NDJSON, WebSocket messages, Socket.IO packets."""
