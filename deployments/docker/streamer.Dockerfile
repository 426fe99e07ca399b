# syntax=docker/dockerfile:1
# The streamer: CSV telemetry into the etcd queue.
#   docker build -f deployments/docker/streamer.Dockerfile --build-arg NEXUS_COMMIT="$(git describe --always --dirty --exclude='*')" -t nexus-streamer .

ARG RUST_VERSION=1.90

FROM rust:${RUST_VERSION}-slim-bookworm AS base
# protoc, and the types that etcd's API imports, compile that API; the authorities go into the image.
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential ca-certificates libprotobuf-dev protobuf-compiler \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /nexus

FROM base AS skeleton
COPY . .
RUN deployments/docker/skeleton.sh /skeleton

FROM base AS build
ARG PROFILE=release
ARG CARGO_FLAGS
COPY deployments/docker/*.sh deployments/docker/
# The dependencies: compiled anew only when the skeleton changes.
COPY --from=skeleton /skeleton .
RUN deployments/docker/compile.sh nexus-streamer
COPY . .
# Last, because it is another one each time.
ARG NEXUS_COMMIT
RUN deployments/docker/compile.sh nexus-streamer /root-of-image

FROM scratch
ARG VERSION=0.1.0
ARG NEXUS_COMMIT
LABEL org.opencontainers.image.title="nexus-streamer" \
    org.opencontainers.image.description="CSV telemetry of GPUs into the etcd queue" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${NEXUS_COMMIT}"
COPY --from=build /root-of-image /
# Rows are read from what is mounted at /data.
ENV METRICS_ADDR=0.0.0.0:9101 CSV_FILE=/data LOG_FORMAT=json
USER 65532:65532
EXPOSE 9101
# Ready: what it needs answers. It asks itself, by its own configuration.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/local/bin/nexus-streamer", "health"]
ENTRYPOINT ["/usr/local/bin/nexus-streamer"]
