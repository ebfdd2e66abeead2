"""Events to rows and chunks; each projection equals the fold at its recorded offset."""
