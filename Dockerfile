# One image for `streamer serve` and `streamer worker`; the Redis is another's. docs/operations.md has the commands.
#
# The base is named by tag: a digest is known only where it is pulled. Pin it there:
#     docker build --build-arg PYTHON_IMAGE=python:3.13-slim-bookworm@sha256:… -t streamer .
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv --without-pip /opt/streamer
COPY requirements/runtime.txt requirements/runtime.txt
RUN pip --python /opt/streamer/bin/python install --require-hashes --only-binary=:all: -r requirements/runtime.txt
COPY pyproject.toml README.md ./
COPY models models
COPY tasks tasks
COPY streamer streamer
COPY static static
# The list holds what builds the package, too; the service needs none of it.
RUN pip --python /opt/streamer/bin/python install --no-deps --no-build-isolation . \
    && pip --python /opt/streamer/bin/python uninstall --yes \
        editables hatchling packaging pathspec pluggy tomlkit trove-classifiers \
    && pip --python /opt/streamer/bin/python check

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Streamer" \
    org.opencontainers.image.description="AI chat for any site: streams that lose nothing, keys that never leave the server."
COPY --from=build /opt/streamer /opt/streamer
RUN mkdir --mode=0700 /data && chown 10001:10001 /data
ENV PATH=/opt/streamer/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STREAMER_DATA=/data
# Nothing else is written to: the root file system may be read-only.
VOLUME /data
WORKDIR /data
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# Of `serve` and of `worker`: it looks at what process 1 runs.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 CMD ["streamer", "health"]
ENTRYPOINT ["streamer"]
CMD ["serve", "--host", "0.0.0.0"]
