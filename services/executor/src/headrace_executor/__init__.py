"""Executor: runs the attempts of steps and keeps their results until an owner has them."""
