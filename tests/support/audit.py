"""`make audit`: what pip-audit found, told apart from what it could not ask. Its own exit code is 1 for both.

    python -m tests.support.audit PROGRAM ARGUMENTS...

Ends with 0 when everything was asked about and nothing is known against it, 1 when something is, 3 when the advisory
service did not answer for some of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

CLEAN, VULNERABLE, NOT_ASKED = 0, 1, 3
MEND = (
    "Nothing is known about these: that is no clean bill. Run it where PyPI itself answers (a mirror of its "
    "packages is not enough), or name an OSV service: "
    "make audit AUDIT='--vulnerability-service osv --osv-url https://HOST/v1/query'"
)


def told(report: str, errors: str) -> tuple[int, str]:
    """Exit code and words for what pip-audit wrote. Pure."""
    try:
        dependencies: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, KeyError):
        last = errors.strip().splitlines()[-1:] or ["it wrote nothing"]
        return NOT_ASKED, f"NOT AUDITED: the advisory service could not be asked: {last[0][:300]}\n{MEND}"
    lines = [
        f"{d['name']} {d['version']}: {v['id']}, fixed in {', '.join(v['fix_versions']) or 'no version yet'}"
        for d in dependencies
        for v in d.get("vulns", ())
    ]
    skipped = sorted(d["name"] for d in dependencies if "skip_reason" in d)
    asked = len(dependencies) - len(skipped)
    if lines:
        lines.append("Raise the pins (make lock), or say in CHANGELOG.md why it does not matter here")
    if skipped:
        some = ", ".join(skipped[:5]) + (" ..." if len(skipped) > 5 else "")
        lines.append(f"NOT AUDITED: the advisory service knows nothing of {len(skipped)} packages ({some}). {MEND}")
    lines.append(f"{asked} of {len(dependencies)} packages were asked about")
    found = any(d.get("vulns") for d in dependencies)
    return VULNERABLE if found else NOT_ASKED if skipped else CLEAN, "\n".join(lines)


def main() -> int:
    """Runs what it is given, and tells what came of it."""
    done = subprocess.run([*sys.argv[1:], "--format", "json"], capture_output=True, text=True, check=False)
    code, words = told(done.stdout, done.stderr)
    print(words)
    return code


if __name__ == "__main__":
    sys.exit(main())
