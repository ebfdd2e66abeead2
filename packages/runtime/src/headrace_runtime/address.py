"""`host:port` as it stands in settings, ready files and leases."""

from dataclasses import dataclass
from typing import Self

PORT_MAX = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """`port` 0 asks for any free port. An IPv6 host stands in brackets in the text form."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError that says what is wrong and shows a right one."""
        host, colon, port = text.strip().rpartition(":")
        if not colon or not host or not port.isascii() or not port.isdigit():
            raise ValueError(f"{text!r} is not host:port, such as 127.0.0.1:7431")
        if int(port) > PORT_MAX:
            raise ValueError(f"{text!r} has a port above {PORT_MAX}")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"{text!r}: an IPv6 host stands in brackets, such as [::1]:7431")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
