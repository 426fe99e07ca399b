# syntax=docker/dockerfile:1
# What operators and jobs run: the `nexus` program, etcd's and PostgreSQL's client programs, the backup scripts.
#   docker build -f deployments/docker/tools.Dockerfile --build-arg ETCD_IMAGE="$ETCD_IMAGE" \
#       --build-arg NEXUS_COMMIT="$(git describe --always --dirty --exclude='*')" -t nexus-tools .

ARG RUST_VERSION=1.90
# PostgreSQL's client programs read servers of their own version and older ones: this Debian has 17.
ARG DEBIAN=trixie-slim
# etcd's own image, of the version that the cluster has; where it comes from is yours to say. What follows :? below is said to
# whoever does not; it has to be one word.
ARG ETCD_IMAGE

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
RUN deployments/docker/compile.sh nexus
COPY . .
# Last, because it is another one each time.
ARG NEXUS_COMMIT
RUN deployments/docker/compile.sh nexus /root-of-image

FROM ${ETCD_IMAGE:?is-missing:--build-arg-has-to-say-where-the-image-of-etcd-3.6-is,see-https://etcd.io/docs/v3.6/op-guide/container/} AS etcd

FROM debian:${DEBIAN}
ARG VERSION=0.1.0
ARG NEXUS_COMMIT
LABEL org.opencontainers.image.title="nexus-tools" \
    org.opencontainers.image.description="Operators' programs of Nexus, and its backups" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${NEXUS_COMMIT}"
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates postgresql-client \
    && rm -rf /var/lib/apt/lists/*
COPY --from=etcd /usr/local/bin/etcdctl /usr/local/bin/etcdutl /usr/local/bin/
COPY --from=build /root-of-image/usr/local/bin/nexus /usr/local/bin/nexus
COPY scripts/backup /opt/nexus/backup
USER 65532:65532
WORKDIR /tmp
# A program that ends has no health.
HEALTHCHECK NONE
ENTRYPOINT ["/usr/local/bin/nexus"]
