#!/bin/sh
# Makes and updates Temporal's two databases; SQL_* say where. Again is harmless.
set -eu

for database in temporal temporal_visibility; do
    schema="/etc/temporal/schema/postgresql/v12/${database#temporal_}/versioned"
    temporal-sql-tool --db "$database" create
    # Setting up would put the version of a database that is there back to 0, so it comes second.
    if ! temporal-sql-tool --db "$database" update-schema -d "$schema"; then
        temporal-sql-tool --db "$database" setup-schema -v 0.0
        temporal-sql-tool --db "$database" update-schema -d "$schema"
    fi
done
