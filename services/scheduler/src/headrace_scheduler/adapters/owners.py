"""Who else owns a partition, by the lease table. A hint: only the log says who does."""

from headrace_core.errors import Unavailable
from headrace_runtime.address import Address
from headrace_runtime.leases import Owners
from headrace_runtime.postgres.pool import CONNECTION_LOST


class OtherOwners:
    """`own` is this scheduler's address, once it is known."""

    def __init__(self, owners: Owners) -> None:
        self._owners = owners
        self.own: Address | None = None

    async def find(self, partition: int) -> Address | None:
        """None while it is nobody's, or on its way to this scheduler. Raises Unavailable."""
        try:
            address = await self._owners.address_of(partition)
        except CONNECTION_LOST as fault:
            raise Unavailable(f"owners of partitions are not readable: {fault!r}") from fault
        return None if address == self.own else address

    async def named(self, partition: int) -> str:
        """For a NOT_OWNER answer: empty where nobody is known."""
        try:
            address = await self.find(partition)
        except Unavailable:
            return ""
        return str(address) if address is not None else ""

    def learn(self, partition: int, named: str) -> None:
        """What a NOT_OWNER answer said; without an address the table is read again."""
        try:
            address = Address.parse(named) if named else None
        except ValueError:
            address = None
        self._owners.learn(partition, address if address != self.own else None)
