"""The reference chat server: chat systems as teams build them, simple enough to copy."""
