import random

from headrace_core.workflow.graph import cycles, successors, topological_order, upstream


def test_the_order_does_not_depend_on_the_order_in_the_file() -> None:
    needs = {"d": ["b", "c"], "c": ["a"], "b": ["a"], "a": list[str]()}
    turned = dict(reversed(needs.items()))
    assert topological_order(needs) == topological_order(turned) == ("a", "b", "c", "d")


def test_every_step_comes_after_what_it_needs() -> None:
    rng = random.Random(3)
    for _ in range(200):
        names = [f"s{index}" for index in range(rng.randint(1, 12))]
        rng.shuffle(names)
        needs = {
            name: rng.sample(names[:index], rng.randint(0, min(3, index)))
            for index, name in enumerate(names)
        }
        order = topological_order(needs)
        assert sorted(order) == sorted(names)
        assert all(order.index(one) < order.index(name) for name in names for one in needs[name])


def test_a_cycle_is_named_as_a_path_that_ends_where_it_began() -> None:
    needs = {"a": ["c"], "b": ["a"], "c": ["b"], "d": ["a"], "e": list[str]()}
    assert cycles(needs) == [("a", "b", "c", "a")]
    assert topological_order(needs) == ("e",)


def test_a_step_that_needs_itself_is_a_cycle() -> None:
    assert cycles({"a": ["a"]}) == [("a", "a")]


def test_two_cycles_are_both_named() -> None:
    needs = {"a": ["b"], "b": ["a"], "x": ["y"], "y": ["x", "a"]}
    assert cycles(needs) == [("a", "b", "a"), ("x", "y", "x")]


def test_a_shorter_cycle_is_named_where_there_are_several() -> None:
    needs = {"a": ["b", "d"], "b": ["c"], "c": ["a"], "d": ["a"]}
    assert cycles(needs)[0] == ("a", "d", "a")


def test_upstream_is_everything_that_certainly_ended() -> None:
    needs = {"a": list[str](), "b": ["a"], "c": ["b"], "d": list[str]()}
    assert upstream(needs)["c"] == {"a", "b"}
    assert upstream(needs)["d"] == frozenset()


def test_successors_name_each_dependent_once() -> None:
    needs = {"a": list[str](), "b": ["a", "a"], "c": ["a", "unknown"]}
    assert successors(needs) == {"a": ("b", "c"), "b": (), "c": ()}
