"""What holds for the upstream and the chat server alike."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def plain(one_tls_context: None) -> None:
    """Nothing here speaks TLS."""
