# syntax=docker/dockerfile:1
# Headgate as an image, without a compiler, without a package manager's index, as a user of its own.
#
#   docker build --target cpu --tag headgate:0.1.0-cpu .
#   docker build --target gpu --tag headgate:0.1.0-gpu .
#
# Every package comes with its hash from requirements/*.lock. The injection model is one of them (the wheel
# `stackone-defender` holds its weights), so that nothing is fetched when the service starts.
# Pin the two bases by digest in a registry of your own: tags can be moved.

ARG PYTHON_IMAGE=python:3.12-slim-bookworm
# onnxruntime-gpu 1.31 is built for CUDA 13 and cuDNN 9. Ubuntu 24.04 brings Python 3.12.
ARG CUDA_IMAGE=nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04

# --- this package as a wheel ---------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS wheel
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
WORKDIR /src
COPY requirements/build.lock requirements/build.lock
RUN pip install --require-hashes --requirement requirements/build.lock
# The redaction kernel's compiler; of this stage only the wheel goes on.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml hatch_build.py README.md LICENSE NOTICE ./
COPY extproc extproc
COPY classifiers classifiers
# The demo's assets, which the wheel carries.
COPY envoy/bootstrap.yaml envoy/bootstrap.yaml
COPY requirements/triton.lock requirements/triton.lock
RUN HEADGATE_KERNEL=required pip wheel --no-deps --no-build-isolation --wheel-dir /wheel .

# --- everything that runs, in one virtual environment per target ---------------------------------------------
FROM ${PYTHON_IMAGE} AS packages-cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
COPY requirements/serve.lock /tmp/serve.lock
RUN python -m venv /opt/headgate \
 && /opt/headgate/bin/pip install --only-binary :all: --require-hashes --requirement /tmp/serve.lock
COPY --from=wheel /wheel /tmp/wheel
# pip has done its work: what could install more goes.
RUN /opt/headgate/bin/pip install --no-deps --no-index /tmp/wheel/*.whl \
 && /opt/headgate/bin/pip uninstall --yes pip

# An environment belongs to the interpreter that made it: this one is of Ubuntu's Python.
FROM ${CUDA_IMAGE} AS packages-gpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*
COPY requirements/serve-gpu.lock /tmp/serve-gpu.lock
RUN python3 -m venv /opt/headgate \
 && /opt/headgate/bin/pip install --only-binary :all: --require-hashes --requirement /tmp/serve-gpu.lock
COPY --from=wheel /wheel /tmp/wheel
RUN /opt/headgate/bin/pip install --no-deps --no-index /tmp/wheel/*.whl \
 && /opt/headgate/bin/pip uninstall --yes pip

# --- what is shipped -----------------------------------------------------------------------------------------
FROM ${CUDA_IMAGE} AS gpu
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 \
 && rm -rf /var/lib/apt/lists/*
LABEL org.opencontainers.image.title="headgate" \
      org.opencontainers.image.description="Envoy external-processing filter for LLM traffic, GPU" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
# The folders of sockets, log and kept bodies belong to the service: a volume that is mounted there takes that
# over.
RUN groupadd --gid 10001 headgate \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin headgate \
 && install --directory --owner=10001 --group=10001 --mode=2770 /run/headgate \
 && install --directory --owner=10001 --group=10001 --mode=0750 /var/log/headgate \
 && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/headgate/bodies
COPY --from=packages-gpu /opt/headgate /opt/headgate
# Nothing is written below /opt: a read-only root is fine.
ENV PATH=/opt/headgate/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1
USER 10001:10001
WORKDIR /var/log/headgate
# Drains: see "drain" in extproc/domain/limits.py for how long to wait before SIGKILL.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=2 CMD ["headgate", "ready"]
ENTRYPOINT ["headgate"]
CMD ["serve"]

FROM ${PYTHON_IMAGE} AS cpu
LABEL org.opencontainers.image.title="headgate" \
      org.opencontainers.image.description="Envoy external-processing filter for LLM traffic, CPU" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 headgate \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin headgate \
 && install --directory --owner=10001 --group=10001 --mode=2770 /run/headgate \
 && install --directory --owner=10001 --group=10001 --mode=0750 /var/log/headgate \
 && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/headgate/bodies \
 && pip uninstall --yes pip
COPY --from=packages-cpu /opt/headgate /opt/headgate
ENV PATH=/opt/headgate/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1
USER 10001:10001
WORKDIR /var/log/headgate
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=2 CMD ["headgate", "ready"]
ENTRYPOINT ["headgate"]
CMD ["serve"]
