"""What the exit code of `headrace` means; scripts may rely on it."""

from enum import IntEnum

from headrace_core.errors import (
    BrokenChain,
    Forbidden,
    HeadraceError,
    PayloadError,
    SetupError,
    Unauthenticated,
    Unavailable,
    UnknownEvent,
)


class ExitCode(IntEnum):
    OK = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    RUN_NOT_SUCCEEDED = 4
    NOT_AUTHENTIC = 5
    SETUP = 6
    NOT_ALLOWED = 7
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.REFUSED: "refused: the definition, the input or the request has a fault, "
    "or a case of a flow fails",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.UNREACHABLE: "no Headrace answers, or it cannot at the moment: try again",
    ExitCode.RUN_NOT_SUCCEEDED: "the run failed, was undone or cancelled, or is suspended",
    ExitCode.NOT_AUTHENTIC: "an export is not what was recorded",
    ExitCode.SETUP: "this machine or its configuration is at fault",
    ExitCode.NOT_ALLOWED: "the key is missing, unknown or not allowed to do this",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
}


def exit_code_of(fault: HeadraceError) -> ExitCode:
    match fault:
        case Unavailable():
            return ExitCode.UNREACHABLE
        case BrokenChain() | UnknownEvent() | PayloadError():
            return ExitCode.NOT_AUTHENTIC
        case SetupError():
            return ExitCode.SETUP
        case Unauthenticated() | Forbidden():
            return ExitCode.NOT_ALLOWED
        case _:
            return ExitCode.REFUSED
