"""The engine in one deterministic loop: real core, loops, executor protocol and log semantics.

Everything that could differ between two runs of one seed (time, chance, order) comes from the
seed. What is simulated is only what lies between the parts: clocks, messages, crashes.
"""
