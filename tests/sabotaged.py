"""GovDesk with one role whose self-test finds the network open; everything else is the real command.

`python -I sabotaged.py ROLE WORD…` where ROLE is `broker`, `terminal`, `auditd`, `worker` or `nobody`.
"""

from __future__ import annotations

import os
import sys


def _main() -> int:
    from govdesk import __main__ as program
    from govdesk.process import environment
    from govdesk.sandbox import selftest

    victim = sys.argv.pop(1)
    environment.command = lambda: [sys.executable, "-I", __file__, victim]
    environment.restart_clean = lambda _arguments: None
    role = sys.argv[2] if sys.argv[1] == "--role" else "broker"
    if role == victim:
        selftest._ATTEMPTS["tcp4"] = lambda: "open"
    os.environ.pop("LC_CTYPE", None)
    return program.main()


if __name__ == "__main__":
    sys.exit(_main())
