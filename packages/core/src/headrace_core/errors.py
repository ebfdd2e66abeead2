"""The one error tree. Each code has a page in docs/errors.

HeadraceError
├── RequestError          a caller's mistake: nothing was changed
│   ├── Unauthenticated   HR-2001
│   ├── Forbidden         HR-2002
│   ├── NotFound          HR-2003
│   ├── KeyReused         HR-2004
│   ├── InvalidInput      HR-2005
│   ├── TooLarge          HR-2006
│   ├── InvalidState      HR-2008
│   └── EgressRefused     HR-2009  the tenant may not connect there
├── Unavailable           HR-2007  try again: no owner at the moment
├── LogError              what the event log refuses
│   ├── Fenced            HR-3001  another owner has claimed the partition
│   ├── UnclearAppend     HR-3002  nobody knows whether the records landed
│   ├── RecordTooLarge    HR-3003
│   ├── LogRewound        HR-3004
│   ├── BrokenChain       HR-3005
│   ├── UnknownEvent      HR-3006
│   ├── WrongLog          HR-3007
│   └── RangeDeleted      HR-3008
├── PayloadError          what cannot be opened
│   ├── KeyErased         HR-4001
│   ├── BlobMissing       HR-4002
│   └── PayloadTampered   HR-4003
└── SetupError            HR-5001  this machine or its configuration
"""

from collections.abc import Sequence
from typing import ClassVar


class HeadraceError(Exception):
    """Root of the tree; `retryable` says whether the same call may succeed later."""

    code: ClassVar[str] = "HR-0000"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RequestError(HeadraceError):
    code = "HR-2000"


class Unauthenticated(RequestError):
    code = "HR-2001"


class Forbidden(RequestError):
    code = "HR-2002"


class NotFound(RequestError):
    code = "HR-2003"


class KeyReused(RequestError):
    """An idempotency key came again with another request."""

    code = "HR-2004"


class InvalidInput(RequestError):
    """Carries every fault found, not only the first."""

    code = "HR-2005"

    def __init__(self, message: str, faults: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)


class TooLarge(RequestError):
    code = "HR-2006"


class Unavailable(HeadraceError):
    code, retryable = "HR-2007", True


class InvalidState(RequestError):
    code = "HR-2008"


class EgressRefused(RequestError):
    code = "HR-2009"


class LogError(HeadraceError):
    code = "HR-3000"


class Fenced(LogError):
    """Partitions whose claim was overtaken; none of their records was stored by this append."""

    code = "HR-3001"

    def __init__(self, message: str, partitions: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.partitions = tuple(partitions)


class UnclearAppend(LogError):
    code, retryable = "HR-3002", True


class RecordTooLarge(LogError):
    code = "HR-3003"


class LogRewound(LogError):
    code = "HR-3004"


class BrokenChain(LogError):
    code = "HR-3005"


class UnknownEvent(LogError):
    code = "HR-3006"


class WrongLog(LogError):
    code = "HR-3007"


class RangeDeleted(LogError):
    code, retryable = "HR-3008", True


class PayloadError(HeadraceError):
    code = "HR-4000"


class KeyErased(PayloadError):
    code = "HR-4001"


class BlobMissing(PayloadError):
    code = "HR-4002"


class PayloadTampered(PayloadError):
    code = "HR-4003"


class SetupError(HeadraceError):
    code = "HR-5001"
