"""Bytes to messages, exactly as the specifications say: event streams, NDJSON, WebSocket messages, Socket.IO packets."""
