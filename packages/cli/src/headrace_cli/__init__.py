"""The command `headrace`: runs the services on one machine and talks to a Headrace anywhere."""
