"""Looks up known vulnerabilities of what streambench needs, with pip-audit.

`python -m tools.audit` exits with 1 where a package that is installed with streambench or one of its extras has one.
Those of development tools are printed only. Where the service that knows them cannot be reached, or does not know the
packages, that is said and nothing fails: a build must not depend on somebody else's service.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from typing import Any

COMMAND = (
    "pip_audit",
    "--local",
    "--skip-editable",
    "--progress-spinner",
    "off",
    "--format",
    "json",
    "--timeout",
    "10",
)
MAX_S = 120
NAME = re.compile(r"[A-Za-z0-9._-]+")


def needed(package: str = "streambench", *, without: str = "dev") -> set[str]:
    """The normalized names of all installed packages that one needs, those of its extras included but one."""
    found: set[str] = set()
    waiting = [package]
    while waiting:
        name = normal(waiting.pop())
        if name in found:
            continue
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        extras = re.compile(f"extra == .{without}." if name == package else "extra ==")
        waiting += [
            match[0]
            for requirement in requirements
            if extras.search(requirement) is None and (match := NAME.match(requirement)) is not None
        ]
    return found


def normal(name: str) -> str:
    """A name as packages are compared by (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def ask() -> list[dict[str, Any]] | None:
    """What pip-audit says of each installed package; None where it could not ask."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", *COMMAND], capture_output=True, text=True, timeout=MAX_S, check=False
        )
        return list(json.loads(done.stdout)["dependencies"])
    except (subprocess.TimeoutExpired, ValueError, LookupError, TypeError):
        return None


def verdict(packages: list[dict[str, Any]] | None, ours: set[str]) -> tuple[list[str], bool]:
    """What is to be said, in lines, and whether it is a failure."""
    if packages is None:
        return ["audit SKIPPED: the vulnerability service cannot be reached"], False
    known = [package for package in packages if "skip_reason" not in package]
    unknown = len(packages) - len(known)
    if not known:
        return [f"audit SKIPPED: the vulnerability service knows none of the {unknown} installed packages"], False
    lines, failed = [], False
    for package in known:
        for found in package["vulns"]:
            is_ours = normal(package["name"]) in ours
            failed |= is_ours
            fixed = ", ".join(found.get("fix_versions", ())) or "no version"
            whose = "" if is_ours else " (a development tool)"
            lines.append(f"{package['name']} {package['version']}{whose}: {found['id']}, fixed in {fixed}")
    left = f"; {unknown} are not known to the service" if unknown else ""
    lines.append(f"audit: {len(known)} packages, {len(lines)} known vulnerabilities{left}")
    return lines, failed


if __name__ == "__main__":
    said, bad = verdict(ask(), needed())
    print("\n".join(said))
    sys.exit(bad)
