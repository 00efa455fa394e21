#!/bin/sh
# Makes the namespace and its search attributes. Again is harmless.
set -eu

until temporal operator cluster health; do sleep 1; done

# Retention: how long a finished workflow can be read in the Web UI. Postgres keeps the business record for good.
temporal operator namespace describe -n "$TEMPORAL_NAMESPACE" >/dev/null 2>&1 ||
    temporal operator namespace create -n "$TEMPORAL_NAMESPACE" --retention 720h
