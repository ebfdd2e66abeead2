"""The graph of `needs`: order, cycles, who comes before whom.

Functions take `needs` as step -> the steps it comes after. Names that are no step are ignored;
the caller reports them.
"""

import heapq
from collections.abc import Mapping, Sequence

Needs = Mapping[str, Sequence[str]]


def topological_order(needs: Needs) -> tuple[str, ...]:
    """Every step after what it needs, else by name (A. B. Kahn, 1962).

    Independent of the order in the file. Steps on a cycle or behind one are left out.
    """
    after = successors(needs)
    missing = {
        step: len({one for one in sources if one in needs}) for step, sources in needs.items()
    }
    free = [step for step, count in missing.items() if not count]
    heapq.heapify(free)
    order: list[str] = []
    while free:
        step = heapq.heappop(free)
        order.append(step)
        for dependent in after[step]:
            missing[dependent] -= 1
            if not missing[dependent]:
                heapq.heappush(free, dependent)
    return tuple(order)


def successors(needs: Needs) -> dict[str, tuple[str, ...]]:
    """Each step's direct dependents, each once, by name."""
    after: dict[str, set[str]] = {step: set() for step in needs}
    for step, sources in needs.items():
        for source in sources:
            if source in after:
                after[source].add(step)
    return {step: tuple(sorted(dependents)) for step, dependents in after.items()}


def upstream(needs: Needs) -> dict[str, frozenset[str]]:
    """Everything that ends before a step may start; steps on cycles are left out."""
    before: dict[str, frozenset[str]] = {}
    for step in topological_order(needs):
        sources = [source for source in needs[step] if source in before]
        before[step] = frozenset(sources).union(*(before[source] for source in sources))
    return before


def cycles(needs: Needs) -> list[tuple[str, ...]]:
    """One cycle per knot of steps, as a path that ends where it began: (a, b, a)."""
    left = set(needs) - set(topological_order(needs))
    found: list[tuple[str, ...]] = []
    for start in sorted(left):
        if start in left:
            path = _way_back(start, needs, left)
            if path is not None:
                found.append(path)
                left -= set(path)
    return found


def _way_back(start: str, needs: Needs, among: set[str]) -> tuple[str, ...] | None:
    """The shortest way from `start` along `needs` to itself, in the order of running."""
    came_from: dict[str, str] = {}
    reached = [start]
    for step in reached:
        for source in sorted(set(needs[step]) & among):
            if source == start:
                path = [start, step]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return tuple(path)
            if source not in came_from:
                came_from[source] = step
                reached.append(source)
    return None
