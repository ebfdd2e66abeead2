class _Model:
    path: str

class _Threads:
    n_threads: int

class CommonParams:
    model: _Model
    n_ctx: int
    n_parallel: int
    warmup: bool
    cpuparams: _Threads
    cpuparams_batch: _Threads
    port: int

class Server:
    listening_address: str
    def __init__(self, params: CommonParams) -> None: ...
