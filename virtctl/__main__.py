"""The program `virtctl`, and `kubectl virt`.

start, stop and restart take a path that imports neither typer nor anything else they do not need; whatever it does not
understand goes to `virtctl.cli`, so help and errors are the same text. Here is also the one `except`.
"""

from __future__ import annotations

import os
import sys

from virt_types.durations import seconds
from virt_types.errors import VirtError
from virtctl import flags, lifecycle
from virtctl.errors import UsageError

_WAIT_FLAGS = (flags.Flag("wait", "bool"), flags.Flag("timeout", "duration"))


def main() -> int:
    """The entry point of both programs."""
    code = run(sys.argv[1:])
    if "typer" not in sys.modules:
        # The fast path leaves nothing to clean up, and tearing the interpreter down takes longer than its request.
        os._exit(code)
    return code


def run(arguments: list[str]) -> int:
    """Carry out one command line; the exit code. Everything printed is flushed."""
    try:
        if not quick(arguments):
            from virtctl import cli

            cli.run(arguments)
        sys.stdout.flush()
    except VirtError as error:
        return _report(error, arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader went away (`virtctl list | head`); flushing again at exit would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        bug = VirtError(_unexpected(error), hint=_BUG_HINT)
        bug.__cause__ = error
        return _report(bug, arguments)
    return 0


def quick(arguments: list[str]) -> bool:
    """Carry out a plain start, stop or restart; False when typer has to look at it."""
    try:
        parsed = flags.parse(arguments, (*flags.GLOBAL_FLAGS, *_WAIT_FLAGS))
    except UsageError:
        return False
    verb = lifecycle.VERBS.get(parsed.words[0]) if parsed.words else None
    if verb is None or len(parsed.words) < 2 or parsed.enabled("help"):
        return False
    names = lifecycle.machine_names(parsed.words[1:], verb.name)
    timeout = parsed.values.get("timeout")
    limit = seconds(timeout) if isinstance(timeout, str) else lifecycle.DEFAULT_WAIT_SECONDS
    from virtctl.http import Client

    client = Client(flags.settings(parsed.values))
    try:
        lifecycle.run(client, lifecycle.Request(verb, names, {}, wait=limit if parsed.enabled("wait") else None))
    finally:
        client.close()
    return True


_BUG_HINT = "This is a fault of virtctl; the same command with --debug shows where."


def _unexpected(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror.lower()}"
    return f"internal error: {type(error).__name__}: {error}"


def _report(error: VirtError, arguments: list[str]) -> int:
    from virtctl.release import program_name
    from virtctl.text import printable

    if "--debug" in arguments or "--debug=true" in arguments:
        import traceback

        traceback.print_exception(error)
    # Commands in a hint are to be typed as this one was.
    lines = [error.message, error.hint.replace("virtctl ", f"{program_name(sys.argv[0])} ")]
    try:
        sys.stdout.flush()
        print(printable("\n".join(filter(None, lines))), file=sys.stderr, flush=True)
    except OSError:
        pass  # nobody reads stderr any more
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
