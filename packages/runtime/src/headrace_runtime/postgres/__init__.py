"""PostgreSQL for every service: the built-in server, pools, named statements, migrations, roles."""
