"""The latest calibration of this machine: kept in the user's state folder, and quoted by later runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = Path("streambench") / "calibration.json"


def place(environ: Mapping[str, str] = os.environ) -> Path:
    """Where it is kept: below XDG_STATE_HOME, which is `~/.local/state` where nobody says otherwise."""
    state = environ.get("XDG_STATE_HOME", "")
    return (Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state") / FILE


def save(result: Mapping[str, Any], path: Path) -> None:
    """Keep a calibration instead of the last one. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    new.replace(path)


def saved_for(environment: Mapping[str, Any], path: Path | None = None) -> dict[str, Any] | None:
    """When this very environment was calibrated and what came of it; None where that was never done."""
    try:
        result = json.loads((path or place()).read_text("utf-8"))
        if result["environment"] == dict(environment):
            return {"calibrated": str(result["calibrated"]), "sentence": str(result["sentence"])}
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        pass  # what cannot be read says nothing, nor does a user without a home
    return None
