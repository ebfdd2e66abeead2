"""Data subjects of a tenant: which have keys, and the erasure of one."""

from collections.abc import Sequence
from typing import Protocol

from headrace_api_gateway.domain.authorisation import Principal
from headrace_core.errors import InvalidInput, NotFound
from headrace_core.ids import TenantId
from headrace_core.workflow.subject import SUBJECT_LETTERS_MAX
from headrace_runtime.keys import Subject
from headrace_runtime.telemetry import Logger

PAGE_MAX = 500


class SubjectKeys(Protocol):
    """`headrace_runtime.keys.DataKeys`."""

    async def subjects(
        self, tenant: TenantId, *, subject: str = "", above_id: int = 0, limit: int = 100
    ) -> Sequence[Subject]: ...

    async def erase_subject(self, tenant: TenantId, subject: str, by: str) -> Subject | None: ...


class KeysInUse(Protocol):
    """`headrace_runtime.sealing.Keyring` of this process."""

    async def refresh_subjects(self) -> None: ...


class Subjects:
    def __init__(self, keys: SubjectKeys, in_use: KeysInUse, log: Logger) -> None:
        self._keys = keys
        self._in_use = in_use
        self._log = log

    async def page(
        self, tenant: TenantId, limit: int, cursor: str
    ) -> tuple[Sequence[Subject], str]:
        """In the order in which they came up, and the cursor of the next page or the empty text.
        Raises InvalidInput."""
        if not 1 <= limit <= PAGE_MAX:
            raise InvalidInput(f"`limit` is from 1 to {PAGE_MAX}.")
        if cursor and not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= 10):
            raise InvalidInput("`cursor` is not one of a page of this list.")
        found = await self._keys.subjects(tenant, above_id=int(cursor or 0), limit=limit + 1)
        page = found[:limit]
        return page, str(page[-1].key) if len(found) > limit else ""

    async def of(self, tenant: TenantId, subject: str) -> Sequence[Subject]:
        """Every key that this data subject has had. Raises InvalidInput."""
        return await self._keys.subjects(tenant, subject=_checked(subject), limit=PAGE_MAX)

    async def erase(self, principal: Principal, subject: str) -> Subject:
        """Destroy the data subject's key. What it sealed opens nowhere any more, in a few seconds.

        Raises InvalidInput, and NotFound for one who has no key (any more).
        """
        tenant = principal.tenant
        erased = await self._keys.erase_subject(tenant, _checked(subject), principal.actor)
        if erased is None:
            raise NotFound("There is no key of this data subject: none was made, or it is erased.")
        self._log.info(
            "data subject erased", tenant=tenant, subject=erased.digest, by=principal.actor
        )
        await self._in_use.refresh_subjects()
        return erased


def _checked(subject: str) -> str:
    if not subject or len(subject) > SUBJECT_LETTERS_MAX:
        raise InvalidInput(f"A data subject is a text of 1 to {SUBJECT_LETTERS_MAX} letters.")
    return subject
