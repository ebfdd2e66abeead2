"""Who takes and who gives up how many leases, by the number of living schedulers."""

from hypothesis import given
from hypothesis import strategies as st

from headrace_runtime.leases import Lease, plan_acquire

ME, OTHER, DEAD = 1, 2, 3


def held_by(*sessions: int | None) -> list[Lease]:
    return [
        Lease(partition, session, alive=session in {ME, OTHER})
        for partition, session in enumerate(sessions)
    ]


def numbers(leases: list[Lease], sessions: int) -> tuple[list[int], list[int]]:
    take, give = plan_acquire(ME, leases, sessions)
    return [lease.partition for lease in take], list(give)


def test_one_scheduler_alone_takes_everything() -> None:
    assert numbers(held_by(None, None, None), 1) == ([0, 1, 2], [])


def test_leases_of_a_dead_session_are_taken_like_free_ones() -> None:
    assert numbers(held_by(ME, DEAD, None, DEAD), 1) == ([1, 2, 3], [])


def test_a_living_session_keeps_what_it_has() -> None:
    assert numbers(held_by(OTHER, OTHER), 2) == ([], [])


def test_who_has_more_than_a_share_gives_the_rest_up() -> None:
    assert numbers(held_by(ME, ME, ME, ME), 2) == ([], [2, 3])


def test_nobody_takes_more_than_a_share() -> None:
    assert numbers(held_by(None, None, None, None), 2) == ([0, 1], [])


@given(partitions=st.integers(1, 64), sessions=st.integers(1, 9))
def test_all_partitions_find_an_owner_and_no_lease_wanders_for_ever(
    partitions: int, sessions: int
) -> None:
    owners: list[int | None] = [None] * partitions
    moves = 0
    for _ in range(4):
        for me in range(sessions):
            leases = [Lease(part, owner, owner is not None) for part, owner in enumerate(owners)]
            take, give = plan_acquire(me, leases, sessions)
            for part in give:
                owners[part] = None
            for lease in take:
                owners[lease.partition] = me
                moves += 1
    assert None not in owners
    assert moves == partitions
