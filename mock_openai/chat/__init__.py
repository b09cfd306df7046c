"""The reference chat server: chat systems as teams build them, plain enough to copy from."""
