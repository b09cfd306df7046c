"""Why a simulated user could not be set up."""

from __future__ import annotations


class SetupError(Exception):
    """A user's setup failed for a reason of the server's. `error` is the error class, the text is for the user."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error
