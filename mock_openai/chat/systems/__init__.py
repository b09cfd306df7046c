"""One file a chat system."""
