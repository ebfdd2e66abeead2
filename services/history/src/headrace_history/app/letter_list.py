"""Dead letters: pages of them, newest first, and each by itself, up to this very moment."""

from headrace_core.errors import InvalidInput, NotFound
from headrace_core.ids import TenantId, is_letter_id
from headrace_history.app.paging import catch_up, cursor_of, page_limit, place_of
from headrace_history.app.ports import LetterFilter, LetterStore
from headrace_history.app.presenter import Presenter
from headrace_history.app.projector import Projector
from headrace_history.domain.projections.letters import STATUSES
from headrace_history.domain.rendering import Document, letter_document


class LetterList:
    def __init__(
        self, projector: Projector, letters: LetterStore, presenter: Presenter, wait_s: float
    ) -> None:
        self._projector = projector
        self._letters = letters
        self._presenter = presenter
        self._wait_s = wait_s

    async def page(
        self, tenant: TenantId, flow: str, status: str, run: str, limit: int, cursor: str
    ) -> tuple[list[Document], str]:
        """Without payloads. Raises InvalidInput for a status or a cursor that is none."""
        if status and status not in STATUSES:
            known = ", ".join(STATUSES)
            raise InvalidInput(f"{status!r} is no status of a dead letter: it is one of {known}")
        after = place_of(cursor, is_letter_id) if cursor else None
        limit = page_limit(limit)
        await catch_up(self._projector, tenant, self._wait_s)
        wanted = LetterFilter(flow=flow, status=status, run=run, after=after)
        rows = await self._letters.letters(tenant, wanted, limit + 1)
        more = len(rows) > limit
        rows = rows[:limit]
        following = cursor_of(rows[-1].added_ms, rows[-1].letter) if more else ""
        return [letter_document(row) for row in rows], following

    async def one(self, tenant: TenantId, letter: str) -> Document:
        """With what the error says, unless its step is marked sensitive. Raises NotFound."""
        if is_letter_id(letter):
            await catch_up(self._projector, tenant, self._wait_s)
            found = await self._letters.letters(tenant, LetterFilter(letter=letter), 1)
            if found:
                return await self._presenter.letter(tenant, found[0])
        raise NotFound(
            f"There is no dead letter {letter!r}: they are listed by `headrace letters list`."
        )
