"""Random small changes of a definition, for comparing verdicts on the same document."""

import copy
import random
from typing import Any, cast

VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    1,
    -1,
    3.0,
    2.5,
    1001,
    "",
    "x",
    "X y",
    "all",
    "fail",
    "1h30m",
    "5 minutes",
    "error",
    "http.get@1",
    "a.b",
    "a.b.c",
    "line\n",
    [],
    ["a"],
    ["a", "a"],
    {},
    {"output": None},
    {"at_least": 0},
    {"at_least": 2},
    {"a": 1},
)
KEYS = (
    *("flow", "name", "steps", "needs", "uses", "with", "when", "join", "wait", "set", "group"),
    *("retry", "timeout", "switch", "port", "on_error", "fallback", "foreach", "priority", "title"),
    *(
        "compensate",
        "repeat",
        "mode",
        "inputs",
        "vars",
        "triggers",
        "outputs",
        "Bad Key",
        "depends",
    ),
)


def mutated(document: Any, rng: random.Random) -> Any:
    """A copy with one to three changes, each at a random place."""
    changed = copy.deepcopy(document)
    for _ in range(rng.randint(1, 3)):
        _change(rng.choice(_containers(changed)), rng)
    return changed


def _containers(node: Any) -> list[Any]:
    found: list[Any] = []
    stack: list[Any] = [node]
    while stack:
        one = stack.pop()
        if isinstance(one, dict):
            found.append(one)
            stack.extend(cast(dict[str, Any], one).values())
        elif isinstance(one, list):
            found.append(one)
            stack.extend(cast(list[Any], one))
    return found


def _change(container: Any, rng: random.Random) -> None:
    value = copy.deepcopy(rng.choice(VALUES))
    if isinstance(container, list):
        items = cast(list[Any], container)
        if items and rng.random() < 0.5:
            items[rng.randrange(len(items))] = value
        else:
            items.append(value if rng.random() < 0.5 or not items else items[0])
        return
    members = cast(dict[str, Any], container)
    names = list(members)
    action = rng.randrange(4)
    if action == 0 and names:
        del members[rng.choice(names)]
    elif action == 1 and names:
        members[rng.choice(names)] = value
    elif action == 2 and names:
        members[rng.choice(KEYS)] = members.pop(rng.choice(names))
    else:
        members[rng.choice(KEYS)] = value
