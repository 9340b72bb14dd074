"""Looks at an output folder by the reader's rule, again and again, until stdin is closed; exits 1 at a wrong set.

Prints a line when it has begun, and at the end how often it looked and how often it saw a complete set.
"""

import hashlib
import json
import select
import sys
from pathlib import Path

PAUSE_SECONDS = 0.005


def success_of(output: Path) -> bytes | None:
    try:
        return (output / "_SUCCESS").read_bytes()
    except FileNotFoundError:
        return None


def fault_of(output: Path, success: bytes) -> str | None:
    """What is wrong with the set that `_SUCCESS` speaks for; None where nothing is."""
    try:
        manifest = (output / "manifest.json").read_bytes()
        if hashlib.sha256(manifest).hexdigest().encode() + b"\n" != success:
            return "_SUCCESS is not of this manifest"
        for name, part in json.loads(manifest)["parts"].items():
            if hashlib.sha256((output / name).read_bytes()).hexdigest() != part["sha256"]:
                return f"{name} is not what the manifest says"
    except FileNotFoundError as error:
        return f"{error.filename} is not there"
    return None


def main() -> None:
    output = Path(sys.argv[1])
    looks, sets = 0, 0
    print("looking", flush=True)
    while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
        looks += 1
        success = success_of(output)
        if success is None:
            continue
        fault = fault_of(output, success)
        if success_of(output) != success:
            continue  # it changed meanwhile: a reader looks again
        if fault is not None:
            sys.exit(f"an inconsistent set: {fault}")
        sets += 1
    print(json.dumps({"looks": looks, "sets": sets}))


if __name__ == "__main__":
    main()
