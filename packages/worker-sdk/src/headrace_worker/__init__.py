"""A decorated async function becomes a step of a Headrace workflow."""
