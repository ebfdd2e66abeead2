"""Where the report is posted: an HTTP server of this process that fails first, as real ones do."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Request:
    """`key` is the Idempotency-Key."""

    status: int
    key: str
    body: Any


@dataclass(slots=True)
class Receiver:
    """Answers the first `failures` requests with 503, accepts each key once after that."""

    failures: int = 2
    requests: list[Request] = field(default_factory=list[Request])
    accepted: dict[str, Any] = field(default_factory=dict[str, Any])
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _server: ThreadingHTTPServer | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        return self._server.server_port

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/audits"

    def take(self, key: str, body: Any) -> int:
        with self._lock:
            status = 503 if len(self.requests) < self.failures else 201
            if status == 201:
                self.accepted.setdefault(key, body)
            self.requests.append(Request(status, key, body))
            return status

    def start(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                body = json.loads(self.rfile.read(length))
                status = receiver.take(self.headers.get("Idempotency-Key", ""), body)
                answer = json.dumps({"received": status == 201}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the base class
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
