from cel_expr_python import cel

class ExtMath(cel.CelExtensionBase):
    def __init__(self, version: int = ...) -> None: ...
