# The targets differ in how they are run; CPU or CUDA is a matter of which build of torch pip finds:
#   docker build --target cpu -t repartee .
#   docker build --target cuda -t repartee:cuda .
# --build-arg TORCH_INDEX=<index URL> takes torch from another index than the rest; the CUDA build brings its libraries.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS packages
ARG TORCH="-r requirements/torch.txt"
ARG TORCH_INDEX=""
WORKDIR /srv
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/venv && install -d /cache
COPY requirements/runtime.txt requirements/torch.txt requirements/
# The lock names every dependency, hence --no-deps; torch comes after it and finds what it needs.
# hadolint ignore=SC2086
RUN /opt/venv/bin/pip install --no-cache-dir --no-compile --no-deps --require-hashes -r requirements/runtime.txt \
    && /opt/venv/bin/pip install --no-cache-dir --no-compile ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} ${TORCH}
# Left out: what only tests, compilers and installers need, and without CUDA the CUDA kernels of bitsandbytes and the
# names of torch's inner symbols.
RUN packages="$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
    && find "${packages}" -type d \( -name tests -o -path '*/torch/test' -o -path '*/torch/include' \) -prune -exec rm -rf {} + \
    && find "${packages}/torch/bin" -type f ! -name torch_shm_manager -delete \
    && if [ ! -e "${packages}/torch/lib/libtorch_cuda.so" ]; then \
        rm -f "${packages}"/bitsandbytes/libbitsandbytes_cuda* \
        && strip --strip-unneeded "${packages}"/torch/lib/libtorch_*.so; \
    fi \
    && rm -rf "${packages}"/pip "${packages}"/pip-* /opt/venv/bin/pip*
# Bytecode only of what a start imports: that of every module would take three times as much room.
RUN /opt/venv/bin/python -c "import accelerate, fastapi.openapi.docs, fastapi_offline, httptools, msgspec, numpy, opentelemetry.sdk.trace, orjson, prometheus_client, pydantic_settings, safetensors.torch, torch, transformers.models.llama.modeling_llama, transformers.models.qwen2.modeling_qwen2, uvicorn.lifespan.on, uvloop"

FROM packages AS native
COPY app app
RUN /opt/venv/bin/python -m compileall -q app && /opt/venv/bin/python -m app.engine.native.library --all

FROM ${BASE_IMAGE} AS runtime
WORKDIR /srv
COPY --from=packages --chown=10001:10001 /cache /cache
COPY --from=packages /opt/venv /opt/venv
COPY models models
COPY LICENSE NOTICE deploy/sbom.json ./
COPY --from=native /srv/app app
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HOME=/cache \
    REPARTEE_HOST=0.0.0.0 \
    REPARTEE_PORT=8000
LABEL org.opencontainers.image.title="repartee" \
      org.opencontainers.image.description="Low-latency LLM inference service" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 10001:10001
VOLUME /cache
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=5 \
    CMD ["/opt/venv/bin/python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['REPARTEE_PORT'] + '/livez', timeout=2)"]
ENTRYPOINT ["/opt/venv/bin/python", "-m", "app"]
# The commit, last because it is new with every build: on the label, in /version and in repartee_build_info.
ARG REVISION=""
LABEL org.opencontainers.image.revision="${REVISION}"
ENV REPARTEE_REVISION="${REVISION}"

FROM runtime AS cuda
RUN ["/opt/venv/bin/python", "-c", "import sys, torch; torch.version.cuda or sys.exit('This build of torch has no CUDA: name the index of one that has with TORCH_INDEX.')"]
ENV REPARTEE_DEVICE=cuda \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# The default target, and so the last one.
FROM runtime AS cpu
