"""History: projects the event log into tenants' schemas and answers every question about runs."""
