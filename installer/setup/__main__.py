"""`python3 -m installer.setup PURPOSE`: sets the checkout up for run, test, check, peers or gemma."""

import sys

MINIMUM = (3, 11)


def start() -> int:
    """Refuse an old Python in words that it can still read, else go on."""
    if sys.version_info < MINIMUM:
        version = ".".join(str(part) for part in sys.version_info[:2])
        sys.stderr.write(
            f"setup: GovDesk needs Python 3.11 or newer; this is {version} ({sys.executable}).\n"
        )
        sys.stderr.write("setup: Name another with PYTHON=…, for example: make run PYTHON=python3.11\n")
        return 5
    from installer.setup.program import main

    return main(sys.argv[1:])


sys.exit(start())
