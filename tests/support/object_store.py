"""An object store that speaks S3 over HTTP, in this process."""

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
from moto.server import ThreadedMotoServer

BUCKET = "headrace"


@dataclass(frozen=True, slots=True)
class FarStore:
    """`url` is of a bucket that exists; `environment` leads to it as a cloud's variables do."""

    endpoint: str
    url: str = f"s3://{BUCKET}/blobs"

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
        }

    def objects(self, prefix: str = "blobs/") -> list[str]:
        """The names that its bucket lists."""
        listed = httpx.get(f"{self.endpoint}/{BUCKET}", params={"list-type": "2", "prefix": prefix})
        listed.raise_for_status()
        return [part.partition("</Key>")[0] for part in listed.text.split("<Key>")[1:]]


@contextmanager
def far_store() -> Generator[FarStore]:
    # Each request would be a line in the output of the tests.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        found = FarStore(f"http://{host}:{port}")
        httpx.put(f"{found.endpoint}/{BUCKET}").raise_for_status()
        yield found
    finally:
        server.stop()
