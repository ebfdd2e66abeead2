"""Who may do what: a role is a set of permissions, and every route declares the one it needs."""

from dataclasses import dataclass
from enum import StrEnum

from headrace_core.errors import Forbidden
from headrace_core.ids import TenantId


class Permission(StrEnum):
    RUNS_READ = "runs.read"
    RUNS_START = "runs.start"
    RUNS_CONTROL = "runs.control"
    WORKFLOWS_READ = "workflows.read"
    WORKFLOWS_PUBLISH = "workflows.publish"
    TASKS_SERVE = "tasks.serve"
    SECRETS_ADMIN = "secrets.admin"
    EGRESS_ADMIN = "egress.admin"
    SUBJECTS_ADMIN = "subjects.admin"
    TENANTS_ADMIN = "tenants.admin"


class Role(StrEnum):
    """`admin` manages tenants and their keys and belongs to none of them; `editor` administers its
    own tenant; `worker` serves tasks and sees nothing else."""

    VIEWER = "viewer"
    STARTER = "starter"
    EDITOR = "editor"
    WORKER = "worker"
    ADMIN = "admin"


_READS = frozenset({Permission.RUNS_READ, Permission.WORKFLOWS_READ})
PERMISSIONS = {
    Role.VIEWER: _READS,
    Role.STARTER: _READS | {Permission.RUNS_START},
    Role.EDITOR: _READS
    | {
        Permission.RUNS_START,
        Permission.RUNS_CONTROL,
        Permission.WORKFLOWS_PUBLISH,
        Permission.TASKS_SERVE,
        Permission.SECRETS_ADMIN,
        Permission.EGRESS_ADMIN,
        Permission.SUBJECTS_ADMIN,
    },
    Role.WORKER: frozenset({Permission.TASKS_SERVE}),
    Role.ADMIN: frozenset({Permission.TENANTS_ADMIN}),
}


@dataclass(frozen=True, slots=True)
class Principal:
    """Taken from the credential only. `actor` names the key in events and audits."""

    tenant: TenantId
    role: Role
    actor: str

    def require(self, permission: Permission) -> None:
        """Raises Forbidden."""
        if permission not in PERMISSIONS[self.role]:
            raise Forbidden(
                f"This key has the role {self.role.value!r}, which does not include "
                f"{permission.value!r}. Use a key whose role does."
            )
