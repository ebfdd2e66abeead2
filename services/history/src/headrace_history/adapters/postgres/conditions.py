"""The condition of a list: only what is asked for, so that each form has a plan of its own."""


class Conditions:
    """`arguments` are in the order of their places in `where`."""

    def __init__(self) -> None:
        self.arguments: list[object] = []
        self._conditions: list[str] = []

    def add(self, condition: str, *values: object) -> None:
        """`{}` stands for the place of each value."""
        first = len(self.arguments) + 1
        self._conditions.append(
            condition.format(*(f"${place}" for place in range(first, first + len(values))))
        )
        self.arguments.extend(values)

    def fill(self, statement: str, schema: str) -> str:
        """Of a statement with `{schema}`, `{where}`, and `{limit}` as its last argument."""
        where = "where " + " and ".join(self._conditions) if self._conditions else ""
        limit = f"${len(self.arguments) + 1}"
        filled = statement.replace("{schema}", schema).replace("{where}", where)
        return filled.replace("{limit}", limit)
