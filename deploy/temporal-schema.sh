#!/bin/sh
# Makes and updates Temporal's two databases; SQL_* say where. Again is harmless.
set -eu

for database in temporal temporal_visibility; do
    schema="/etc/temporal/schema/postgresql/v12/${database#temporal_}/versioned"
    temporal-sql-tool --db "$database" create
    temporal-sql-tool --db "$database" setup-schema -v 0.0 || true # it is there from an earlier start
    temporal-sql-tool --db "$database" update-schema -d "$schema"
done
