"""The servers and the processes of the corpus, one of each for all tests; this folder is on the path of imports."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from desk import Certificate, Jobs, Servers, make_certificate


@pytest.fixture(scope="session")
def jobs() -> Iterator[Jobs]:
    """Runs commands."""
    with Jobs() as jobs:
        yield jobs


@pytest.fixture(scope="session")
def certificate(component: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """For the servers that speak TLS."""
    component("openssl")
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def servers(certificate: Certificate) -> Iterator[Servers]:
    """Misbehave; new ones for each test, so that none is still busy with the floods of another."""
    with Servers(certificate) as servers:
        yield servers
