# a2bgan with the reading room, the DICOM node and exports.
#
#   docker build --tag a2bgan .                                 CPU
#   docker build --tag a2bgan:cuda --build-arg TORCH_INDEX= .   CUDA; its libraries come with the wheels
#
# BASE: a Debian or Ubuntu image; Python is installed where it has none.
ARG BASE=python:3.11-slim
FROM ${BASE}

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV DEBIAN_FRONTEND=noninteractive \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1

RUN apt-get update \
    && { command -v python3 > /dev/null || apt-get install --yes --no-install-recommends python3 python3-venv; } \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/a2bgan
ENV PATH=/opt/a2bgan/bin:$PATH

# PyTorch first: it is large, and changes less often than the source.
COPY constraints.txt /src/
RUN if [ -n "$TORCH_INDEX" ]; then export PIP_EXTRA_INDEX_URL="$TORCH_INDEX"; fi \
    && pip install --constraint /src/constraints.txt torch torchvision

COPY pyproject.toml README.md LICENSE /src/
COPY src /src/src
RUN pip install --constraint /src/constraints.txt "/src[export,listen,scale,serve]"

# A user without rights; the cache and the key of pseudonyms lie in its home. Ubuntu's images have
# a user 1000 of their own.
RUN { userdel --remove "$(id --name --user 1000)" 2> /dev/null || true; } \
    && useradd --create-home --uid 1000 --user-group a2bgan \
    && mkdir /runs && chown 1000:1000 /runs
USER 1000
WORKDIR /runs
VOLUME /runs

# The reading room (8080) and the DICOM node (11112).
EXPOSE 8080 11112

# Only `serve` over HTTP answers here; run other commands with --no-healthcheck.
HEALTHCHECK --interval=30s --timeout=5s --start-period=5m --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]

ENTRYPOINT ["a2bgan"]
CMD ["--help"]
