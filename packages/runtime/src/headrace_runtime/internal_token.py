"""What the installation's own processes prove themselves with to each other."""

from headrace_runtime.keys import RootKey

PREFIX = "hr_internal_"


def internal_token(root_key: RootKey) -> str:
    """Known to whoever may read the root key's file, and to nobody else."""
    return PREFIX + root_key.derive("internal token").hex()
