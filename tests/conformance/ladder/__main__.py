"""Plays the ladder of outside cases between two programs, and prints what came of each.

python -m conformance.ladder --source qemu-system-x86_64 --target migsim-system-x86_64
"""

from __future__ import annotations

import argparse
import sys

from .levels import CASES
from .play import DEFAULT, play, setting_of


def main() -> int:
    parser = argparse.ArgumentParser(prog="ladder", description=__doc__)
    parser.add_argument("--source", default=DEFAULT, metavar="PROGRAM")
    parser.add_argument("--target", default=DEFAULT, metavar="PROGRAM")
    parser.add_argument("--accel", action="append", help="preferred first; tcg if none is given")
    parser.add_argument("--quick", action="store_true", help="no probes, requests in bursts")
    parser.add_argument("--skip-slow", action="store_true")
    parser.add_argument("--least", type=int, default=0, help="fail unless so many pass")
    parser.add_argument("-l", "--list", action="store_true")
    parser.add_argument("only", nargs="*", help="parts of names")
    args = parser.parse_args()
    names = [name for name in CASES if not args.only or any(part in name for part in args.only)]
    if args.list:
        print(*(f"{CASES[name].level}  {name}" for name in names), sep="\n")
        return 0
    passed = total = 0
    for name in names:
        if args.skip_slow and CASES[name].slow:
            continue
        outcome = play(
            CASES[name],
            lambda folder: setting_of(
                args.source, args.target, folder, thorough=not args.quick, accels=args.accel
            ),
        )
        total += 1
        passed += not outcome.problem
        print(f"{outcome.seconds:7.1f} s  {outcome.problem or 'ok':60.160}  {name}", flush=True)
    print(f"{passed} of {total} cases passed")
    return 0 if passed >= (args.least or total) else 1


if __name__ == "__main__":
    sys.exit(main())
