"""`make bench`: every measurement, one after the other. Exits 1 if one misses its goal."""

from __future__ import annotations

import subprocess
import sys

MEASUREMENTS = ("capture_cost", "apply_rate", "drain")


def main() -> int:
    """Run each as a program of its own, so that none warms the others up."""
    missed = []
    for name in MEASUREMENTS:
        print(f"\n{name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            missed.append(name)
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
