"""Checks an output folder again and again, as a reader would, until stdin is closed. Exits 1 at an inconsistent set.

Prints a line when it starts. At the end it prints how often it looked and how often it saw a complete set.
"""

import hashlib
import json
import select
import sys
from pathlib import Path

PAUSE_SECONDS = 0.005


def read_success(output: Path) -> bytes | None:
    try:
        return (output / "_SUCCESS").read_bytes()
    except FileNotFoundError:
        return None


def find_fault(output: Path, success: bytes) -> str | None:
    """What is wrong with the set, if `success` is the content of its `_SUCCESS`. None if it is consistent."""
    try:
        manifest = (output / "manifest.json").read_bytes()
        if hashlib.sha256(manifest).hexdigest().encode() + b"\n" != success:
            return "_SUCCESS does not belong to this manifest"
        for name, part in json.loads(manifest)["parts"].items():
            if hashlib.sha256((output / name).read_bytes()).hexdigest() != part["sha256"]:
                return f"{name} is not what the manifest says"
    except FileNotFoundError as error:
        return f"{error.filename} is missing"
    return None


def main() -> None:
    output = Path(sys.argv[1])
    looks, sets = 0, 0
    print("looking", flush=True)
    while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
        looks += 1
        success = read_success(output)
        if success is None:
            continue
        fault = find_fault(output, success)
        if read_success(output) != success:
            continue  # the set was replaced meanwhile: a reader starts over
        if fault is not None:
            sys.exit(f"an inconsistent set: {fault}")
        sets += 1
    print(json.dumps({"looks": looks, "sets": sets}))


if __name__ == "__main__":
    main()
