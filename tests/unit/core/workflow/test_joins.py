"""The two tables of the semantics, and that no order of completion changes a result."""

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pytest

from headrace_core.run.status import StepStatus
from headrace_core.workflow.joins import (
    EdgeState,
    Join,
    JoinDecision,
    JoinKind,
    decide_join,
    edge_state,
)

U, A, S, D, B = EdgeState
DECIDED = (A, S, D, B)
JOINS = (
    Join(JoinKind.ALL),
    Join(JoinKind.ANY),
    Join(JoinKind.AT_LEAST, 2),
    Join(JoinKind.SETTLED),
    Join(JoinKind.ALWAYS),
)


@pytest.mark.parametrize(
    ("status", "catches", "plain", "taken", "other", "error"),
    [
        (StepStatus.SUCCEEDED, False, A, A, D, D),
        (StepStatus.FAILED, False, B, B, B, A),
        (StepStatus.FAILED, True, D, D, D, A),
        (StepStatus.SKIPPED, False, S, S, S, S),
        (StepStatus.CANCELLED, False, B, B, B, D),
        (StepStatus.RUNNING, False, U, U, U, U),
    ],
)
def test_an_edge_follows_the_table(
    status: StepStatus,
    catches: bool,
    plain: EdgeState,
    taken: EdgeState,
    other: EdgeState,
    error: EdgeState,
) -> None:
    def state(port: str) -> EdgeState:
        return edge_state(status, "hot", port, catches=catches)

    assert (state(""), state("hot"), state("cold"), state("error")) == (plain, taken, other, error)


def test_a_step_without_needs_runs() -> None:
    assert {decide_join(join, ()) for join in JOINS} == {JoinDecision.RUN}


@pytest.mark.parametrize(
    ("join", "runs", "skipped"),
    [
        (Join(JoinKind.ALL), [(A, A)], [(A, S), (U, D), (B, U)]),
        (Join(JoinKind.ANY), [(A, U), (D, A)], [(D, S), (B, B)]),
        (Join(JoinKind.AT_LEAST, 2), [(A, A, U)], [(A, D, D), (U, S, S)]),
        (Join(JoinKind.SETTLED), [(A, S), (A, A)], [(S, S), (A, D), (U, B)]),
        (Join(JoinKind.ALWAYS), [(D, B), (S, S), (A, A)], []),
    ],
)
def test_a_join_follows_the_table(
    join: Join, runs: list[tuple[EdgeState, ...]], skipped: list[tuple[EdgeState, ...]]
) -> None:
    assert {decide_join(join, edges) for edges in runs} == {JoinDecision.RUN}
    assert {decide_join(join, edges) for edges in skipped} <= {JoinDecision.SKIP}


@pytest.mark.parametrize("join", JOINS, ids=lambda join: join.kind.value)
def test_a_decision_is_taken_when_it_cannot_change_and_never_before(join: Join) -> None:
    for edges in itertools.product(EdgeState, repeat=3):
        ends = {decide_join(join, end) for end in _completions(edges)}
        assert JoinDecision.WAIT not in ends
        expected = ends.pop() if len(ends) == 1 else JoinDecision.WAIT
        if join.kind is JoinKind.ALWAYS and U in edges:
            # It runs in any case, but after the others have ended.
            expected = JoinDecision.WAIT
        assert decide_join(join, edges) is expected, edges


def _completions(edges: Sequence[EdgeState]) -> Iterator[tuple[EdgeState, ...]]:
    return itertools.product(*(DECIDED if edge is U else (edge,) for edge in edges))


@dataclass(frozen=True)
class Node:
    """A step of a random graph, and what it does if it runs: status and port."""

    needs: tuple[tuple[str, str], ...]
    join: Join
    catches: bool
    outcome: tuple[StepStatus, str]


Graph = Mapping[str, Node]
Ends = dict[str, tuple[StepStatus, str]]


def _random_graph(rng: random.Random, size: int) -> Graph:
    nodes: dict[str, Node] = {}
    for index in range(size):
        sources = rng.sample(sorted(nodes), rng.randint(0, min(3, len(nodes))))
        needs = tuple((source, rng.choice(("", "", "hot", "cold", "error"))) for source in sources)
        join = rng.choice(JOINS)
        if join.kind is JoinKind.AT_LEAST:
            join = Join(JoinKind.AT_LEAST, rng.randint(1, max(1, len(needs))))
        status = rng.choice(
            (StepStatus.SUCCEEDED,) * 4
            + (StepStatus.FAILED, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED)
        )
        port = rng.choice(("hot", "cold", "")) if status is StepStatus.SUCCEEDED else ""
        nodes[f"s{index}"] = Node(needs, join, rng.random() < 0.3, (status, port))
    return nodes


def _edges(graph: Graph, node: Node, ends: Ends) -> list[EdgeState]:
    states: list[EdgeState] = []
    for source, port in node.needs:
        if source not in ends:
            states.append(U)
            continue
        status, taken = ends[source]
        states.append(edge_state(status, taken, port, catches=graph[source].catches))
    return states


def _settle(graph: Graph, ends: Ends, running: frozenset[str]) -> tuple[Ends, frozenset[str]]:
    """Every decision that can be taken without another completion."""
    ends, open_steps = dict(ends), set(running)
    moved = True
    while moved:
        moved = False
        for name, node in graph.items():
            if name in ends or name in open_steps:
                continue
            decision = decide_join(node.join, _edges(graph, node, ends))
            if decision is JoinDecision.SKIP:
                ends[name] = (StepStatus.SKIPPED, "")
            elif decision is JoinDecision.RUN and node.outcome[0] is StepStatus.SKIPPED:
                ends[name] = node.outcome
            elif decision is JoinDecision.RUN:
                open_steps.add(name)
            else:
                continue
            moved = True
    return ends, frozenset(open_steps)


def _all_results(graph: Graph) -> set[tuple[tuple[str, tuple[StepStatus, str]], ...]]:
    """The final states over every order in which running steps can complete."""
    results: set[tuple[tuple[str, tuple[StepStatus, str]], ...]] = set()
    seen: set[frozenset[str]] = set()
    waiting: list[tuple[Ends, frozenset[str]]] = [({}, frozenset())]
    while waiting:
        ends, running = _settle(graph, *waiting.pop())
        if not running:
            results.add(tuple(sorted(ends.items())))
        for name in running:
            after = {**ends, name: graph[name].outcome}
            if frozenset(after) not in seen:
                seen.add(frozenset(after))
                waiting.append((after, running - {name}))
    return results


def _result_of_an_order(graph: Graph, rng: random.Random) -> Ends:
    ends, running = _settle(graph, {}, frozenset())
    while running:
        name = rng.choice(sorted(running))
        ends, running = _settle(graph, {**ends, name: graph[name].outcome}, running - {name})
    return dict(ends)


@pytest.mark.parametrize("seed", range(10))
def test_fifty_orders_of_a_larger_graph_give_the_same_result(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(4):
        graph = _random_graph(rng, rng.randint(7, 14))
        first = _result_of_an_order(graph, rng)
        assert all(_result_of_an_order(graph, rng) == first for _ in range(49))
        assert len(first) == len(graph), "a step never came to an end"


@pytest.mark.parametrize("seed", range(20))
def test_every_order_of_completion_gives_the_same_result(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(500):
        graph = _random_graph(rng, rng.randint(1, 6))
        results = _all_results(graph)
        assert len(results) == 1, graph
        assert len(results.pop()) == len(graph), "a step never came to an end"


def test_the_skip_rules_of_others_are_not_ours() -> None:
    """A skip goes on only along its own edges: GitHub skips the whole tail behind it."""
    plain = Join()
    graph = {
        "skipped": Node((), plain, False, (StepStatus.SKIPPED, "")),
        "ran": Node((), plain, False, (StepStatus.SUCCEEDED, "")),
        "optional": Node(
            (("skipped", ""), ("ran", "")),
            Join(JoinKind.SETTLED),
            False,
            (StepStatus.SUCCEEDED, ""),
        ),
        "tail": Node((("optional", ""),), plain, False, (StepStatus.SUCCEEDED, "")),
    }
    (result,) = _all_results(graph)
    assert dict(result)["tail"] == (StepStatus.SUCCEEDED, "")
