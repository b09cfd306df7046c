"""Bytes to messages, exactly as specified: event streams, NDJSON, plain text, WebSocket messages, Socket.IO packets."""
