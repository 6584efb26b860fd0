"""One program, several roles: the commands people type, and the processes the broker starts.

`govdesk …` is a command; `govdesk --role R --channel N …` is a role, started by the broker only.
However it ends, a person reads one calm line and a script gets an exit code; nobody gets a traceback.
"""

from __future__ import annotations

import sys

from govdesk.errors import GovDeskError, KnownError, unexpected
from govdesk.hardening import end_with_parent, harden
from govdesk.process.environment import close_unknown, restart_clean

_ROLE = "--role"


def main() -> int:
    """Run the command or role that the arguments name.

    Returns:
        The exit code: 0 done, 1 no, 3 usage, 4 cannot read or unlock, 5 environment, 70 our fault.
    """
    from govdesk.cli import output

    try:
        try:
            code = _run(sys.argv[1:])
            output.finish()
        except BrokenPipeError:
            output.finish()  # raises again when it was the output's
            raise
    except output.ReaderLeft:
        return 0
    except KnownError as error:
        return _say(error.explain(), error.exit_code)
    except GovDeskError as error:
        return _say(f"{error.explain()} (code {error.code})", error.exit_code)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 (the last resort: its message may hold content)
        bug = unexpected(error)
        return _say(f"{bug.explain()} (code {bug.code})", bug.exit_code)
    return code


def _say(line: str, code: int) -> int:
    if sys.stderr is not None:
        print(f"govdesk: {line}", file=sys.stderr)  # noqa: T201
    return code


def _run(arguments: list[str]) -> int:
    if arguments[:1] == [_ROLE]:
        return _role(arguments[1:])
    restart_clean(arguments)
    from govdesk.app import launch

    return launch.command(arguments)


def _role(arguments: list[str]) -> int:
    """A process of the broker's: its role's name, `--channel N`, then the role's own arguments."""
    role, flag, number, *rest = arguments
    if flag != "--channel":
        return 3
    descriptor = int(number)
    harden()
    if role != "auditd":  # the writer ends with its channel, after its last record
        end_with_parent()
    match role:
        case "worker":
            close_unknown(frozenset({descriptor}))
            from govdesk.worker import main as worker

            return worker.run(descriptor, _gpu(rest))
        case "auditd":
            from govdesk.app import writer

            return writer.run(descriptor, rest)
        case "window" | "terminal":
            from govdesk.app import session

            return session.run(role, descriptor, rest)
    return 3


def _gpu(arguments: list[str]) -> str:
    """The graphics backend of a worker's `--gpu NAME`; anything else is none."""
    match arguments:
        case ["--gpu", "cuda"]:
            return "cuda"
        case ["--gpu", "vulkan"]:
            return "vulkan"
    return ""


if __name__ == "__main__":
    sys.exit(main())
