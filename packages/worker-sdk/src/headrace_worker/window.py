"""Room of one lane on one stream: what was granted, what runs, what waits for its word's record.

Every lane of every stream has room of its own and at least one place, so that a lane or a
scheduler without work cannot keep the others' places.
"""

from dataclasses import dataclass

KEPT_SHARES_MAX = 4
"""Results that nobody acknowledges stop further grants at this multiple of the share."""
QUIET_FRACTION = 4
"""Credits alone are worth a message when a quarter of the share is to be granted."""


@dataclass(slots=True)
class LaneWindow:
    """`granted` credits were not used yet; `kept` results are not acknowledged yet."""

    granted: int = 0
    open: int = 0
    kept: int = 0

    def took_one(self) -> None:
        """A task came: it used a credit, also if it is refused or a repetition."""
        if self.granted:
            self.granted -= 1

    def grant(self, share: int, *, worth_a_message: bool) -> int:
        """How many credits to send now; they count as granted from here on."""
        room = share - self.granted - self.open
        room = min(room, KEPT_SHARES_MAX * share - self.granted - self.open - self.kept)
        if room <= 0 or (worth_a_message and room * QUIET_FRACTION < share):
            return 0
        self.granted += room
        return room
