# The service alone: no models, no database, no Triton. `compose.yaml` and `deploy/` say what stands beside it.
# `docker build --target service` makes it; `--target models` makes an image of built models, for Kubernetes.

FROM python:3.12.12-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/likeness
COPY requirements/service.txt /src/
# --no-deps: the file is complete, and leaves out what requirements/overrides.txt says.
RUN /opt/likeness/bin/pip install --no-deps --require-hashes --requirement /src/service.txt
COPY pyproject.toml README.md LICENSE /src/
COPY app /src/app
# The embedded database is 170 of 440 MB, and of no use where a Milvus server is named.
RUN /opt/likeness/bin/pip install --no-deps --no-build-isolation /src \
 && /opt/likeness/bin/pip uninstall --yes milvus-lite

FROM python:3.12.12-slim-bookworm AS service
# The folders are there for volumes: a new one takes their owner.
RUN groupadd --gid 10001 likeness \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin likeness \
 && install --directory --owner 10001 --group 10001 /data /models /weights
COPY --from=build /opt/likeness /opt/likeness
ENV PATH=/opt/likeness/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    LIKENESS_HOST=0.0.0.0 \
    LIKENESS_DATA_DIR=/data \
    LIKENESS_MODEL_REPOSITORY=/models \
    LIKENESS_CACHE_DIR=/weights
USER 10001:10001
WORKDIR /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/ready', timeout=4)"]
ENTRYPOINT ["likeness"]
CMD ["serve"]

# The model repository as an image: what a Triton serves is then a tag, and a start fetches nothing.
FROM service AS models
ARG TARGET=gpu
RUN likeness models build --target "$TARGET" && rm -rf /weights/*
ENTRYPOINT ["cp", "-r", "/models/.", "/repository"]
CMD []
