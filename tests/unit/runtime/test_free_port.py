"""Ports that are free, and stay so while their server is down."""

import socket

from headrace_runtime.postgres.free_port import HIGHEST, LOWEST, choose_port, is_free


def test_a_port_in_use_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not is_free("127.0.0.1", server.getsockname()[1])


def test_a_chosen_port_is_free_and_no_outgoing_connection_can_take_it() -> None:
    for _ in range(20):
        port = choose_port("127.0.0.1")
        assert LOWEST <= port <= HIGHEST
        assert is_free("127.0.0.1", port)
