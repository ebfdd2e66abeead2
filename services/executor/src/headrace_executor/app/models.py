"""The way to language models."""

from typing import Protocol

from headrace_executor.domain.model_answer import Answer, Question


class Models(Protocol):
    """One endpoint; asked once per attempt, since the engine is the one that tries again."""

    @property
    def usual(self) -> str:
        """The model for steps that name none, empty where nothing is configured."""
        ...

    async def ask(self, question: Question) -> Answer:
        """Raises ModelFailed."""
        ...

    async def close(self) -> None: ...
