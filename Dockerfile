# CPU or CUDA is a matter of which torch build is installed (its wheels bring the CUDA libraries):
#   docker build -t repartee .                                          the build that pip's own index serves
#   docker build -t repartee --build-arg TORCH_INDEX=<index URL> .      the build of another index, CPU or CUDA
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS builder
ARG TORCH="-r requirements/torch.txt"
ARG TORCH_INDEX=""
WORKDIR /srv
RUN python3 -m venv /opt/venv
COPY requirements/runtime.txt requirements/torch.txt requirements/
# The lock names every dependency, hence --no-deps; torch comes after it and finds what it needs.
# hadolint ignore=SC2086
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements/runtime.txt \
    && /opt/venv/bin/pip install --no-cache-dir ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} ${TORCH}
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends g++
COPY app app
RUN /opt/venv/bin/python -m compileall -q app && /opt/venv/bin/python -m app.engine.native.library --all

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="repartee" \
      org.opencontainers.image.description="Low-latency LLM inference service" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN install -d -o 10001 -g 10001 /cache
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HOME=/cache \
    REPARTEE_HOST=0.0.0.0 \
    REPARTEE_PORT=8000
WORKDIR /srv
COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /srv/app app
COPY models models
COPY LICENSE NOTICE ./
USER 10001:10001
VOLUME /cache
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=5 \
    CMD ["/opt/venv/bin/python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['REPARTEE_PORT'] + '/livez', timeout=2)"]
ENTRYPOINT ["/opt/venv/bin/python", "-m", "app"]
