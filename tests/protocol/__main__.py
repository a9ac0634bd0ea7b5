"""`python -m tests.protocol [--write FILE]`: explore everything, and print the table."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tests.protocol.catalogue import LARGER, MUTANTS, PROTOCOL, STUCK, WITHOUT_BARRIER
from tests.protocol.explorer import explore

MARK = "<!-- the table of `make model` -->\n"


def main() -> int:
    """Explore; 1 when something does not hold, or a mutant gets through."""
    parser = argparse.ArgumentParser(prog="python -m tests.protocol", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into FILE, behind its mark")
    given = parser.parse_args()
    lines, wrong = ["| protocol | states | transitions | |", "|---|--:|--:|---|"], 0
    explored = {**PROTOCOL, **LARGER, **{name: rules for name, (rules, _) in WITHOUT_BARRIER.items()}}
    for name, rules in explored.items():
        began, verdict = time.monotonic(), explore(rules)
        word = "all hold" if verdict.holds else f"{', '.join(verdict.violations)} break for a while; always mended"
        wrong += (name in WITHOUT_BARRIER) == verdict.holds or verdict.stuck > 0
        lines.append(f"| {name} | {verdict.states:,} | {verdict.transitions:,} | {word} |")
        print(f"{lines[-1]}  {time.monotonic() - began:.1f} s", flush=True)
    lines += ["", "| without a rule | breaks | in steps |", "|---|---|--:|"]
    for name, (rules, expected) in MUTANTS.items():
        verdict = explore(rules, until_broken=expected != STUCK)
        trace = verdict.stuck_trace if expected == STUCK else verdict.violations.get(expected, [])
        wrong += not trace
        lines.append(f"| {name} | {expected} | {len(trace)} |")
        print(lines[-1], flush=True)
    if given.write:
        text, mark, _ = given.write.read_text(encoding="utf-8").partition(MARK)
        given.write.write_text(text + mark + "\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
