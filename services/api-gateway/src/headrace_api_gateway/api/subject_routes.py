"""Data subjects: whose personal data runs hold, and their erasure.

The subject comes in a body and never in an address, which would stand in logs; no answer holds it.
"""

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from headrace_api_gateway.api import examples
from headrace_api_gateway.api.answers import json_answer
from headrace_api_gateway.api.guard import Caller, needs
from headrace_api_gateway.app.subjects import Subjects
from headrace_api_gateway.domain.authorisation import Permission
from headrace_core.workflow.values import time_text
from headrace_runtime.keys import Subject

ERASE_TEXT = (
    "Destroys the key of this data subject for ever: payloads of its runs, in the log, in history "
    "and in exports made from now on, are shown as erased, and every proof still verifies. Steps "
    "of open runs that need them fail with `input.erased`. A run that names the same data subject "
    "later gets a new key. Backups of the key table have to be destroyed too."
)


class SubjectBody(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": examples.SUBJECT_NAME})

    subject: str
    """What the flows' `subject` gives, letter by letter."""


class SubjectRoutes:
    def __init__(self, subjects: Subjects) -> None:
        self._subjects = subjects

    def add_to(self, app: FastAPI) -> None:
        permission = Permission.SUBJECTS_ADMIN
        app.get(
            "/v1/subjects",
            summary="The data subjects that have had a key",
            description="In the order in which they came up, each known by an HMAC of its name.",
            openapi_extra=needs(permission),
            responses=examples.answer({"subjects": [examples.SUBJECT], "next_cursor": None}),
        )(self.page)
        app.post(
            "/v1/subjects/find",
            summary="The keys that a data subject has had",
            openapi_extra=needs(permission),
            responses=examples.answer({"subjects": [examples.SUBJECT]}),
        )(self.find)
        app.post(
            "/v1/subjects/erase",
            summary="Erase a data subject",
            description=ERASE_TEXT,
            openapi_extra=needs(permission),
            responses=examples.answer(examples.ERASED_SUBJECT),
        )(self.erase)

    async def page(self, caller: Caller, limit: int = 100, cursor: str = "") -> Response:
        found, following = await self._subjects.page(caller.tenant, limit, cursor)
        return json_answer(
            {"subjects": [_subject(one) for one in found], "next_cursor": following or None}
        )

    async def find(self, caller: Caller, body: SubjectBody) -> Response:
        found = await self._subjects.of(caller.tenant, body.subject)
        return json_answer({"subjects": [_subject(one) for one in found]})

    async def erase(self, caller: Caller, body: SubjectBody) -> Response:
        return json_answer(_subject(await self._subjects.erase(caller, body.subject)))


def _subject(subject: Subject) -> dict[str, object]:
    return {
        "id": subject.digest,
        "key": subject.key,
        "created_at": time_text(subject.created_ms),
        "erased_at": time_text(subject.erased_ms) if subject.erased_ms is not None else None,
        "erased_by": subject.erased_by or None,
    }
