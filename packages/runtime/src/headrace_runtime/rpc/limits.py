"""Sizes and keepalive that both ends of a channel must agree on."""

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
"""Above the largest single item; ordinary messages stay below 1 MB."""

Options = list[tuple[str, int | str]]

_SIZES: Options = [
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
]
_KEEPALIVE: Options = [
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]

CHANNEL_OPTIONS: Options = [
    *_SIZES,
    *_KEEPALIVE,
    # The default grows to 2 minutes, in which a restarted service would stay unknown.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A proxy variable of the environment is meant for the outside world.
    ("grpc.enable_http_proxy", 0),
]
SERVER_OPTIONS: Options = [
    *_SIZES,
    *_KEEPALIVE,
    # Well below the clients' 30 s: equal values misfire and the server cuts the connection.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 15_000),
    # Else a taken port goes unnoticed and two servers share the traffic.
    ("grpc.so_reuseport", 0),
]
