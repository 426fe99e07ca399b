# syntax=docker/dockerfile:1
# The gateway: telemetry over HTTP, with the GraphQL playground.
#   docker build -f deployments/docker/gateway.Dockerfile --build-arg NEXUS_COMMIT="$(git describe --always --dirty --exclude='*')" -t nexus-gateway .

ARG RUST_VERSION=1.90
ARG NODE_VERSION=22

FROM rust:${RUST_VERSION}-slim-bookworm AS base
# protoc, and the types that etcd's API imports, compile that API; the authorities go into the image.
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential ca-certificates libprotobuf-dev protobuf-compiler \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /nexus

FROM base AS skeleton
COPY . .
RUN deployments/docker/skeleton.sh /skeleton

FROM node:${NODE_VERSION}-bookworm-slim AS web
WORKDIR /web
COPY gateway/web/package.json gateway/web/package-lock.json gateway/web/.npmrc ./
RUN npm ci --no-progress --loglevel=error
COPY gateway/web ./
RUN npm run --silent build -- --logLevel warn

FROM base AS build
ARG PROFILE=release
ARG CARGO_FLAGS
COPY deployments/docker/*.sh deployments/docker/
# The dependencies: compiled anew only when the skeleton changes.
COPY --from=skeleton /skeleton .
RUN deployments/docker/compile.sh nexus-gateway
COPY . .
COPY --from=web /web/dist gateway/web/dist
# Last, because it is another one each time.
ARG NEXUS_COMMIT
RUN deployments/docker/compile.sh nexus-gateway /root-of-image

FROM scratch
ARG VERSION=0.1.0
ARG NEXUS_COMMIT
LABEL org.opencontainers.image.title="nexus-gateway" \
    org.opencontainers.image.description="GPU telemetry over REST, GraphQL and WebSocket" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${NEXUS_COMMIT}"
COPY --from=build /root-of-image /
# Others reach it, so it asks for API_KEYS_FILE, or to be told ALLOW_ANONYMOUS=true.
ENV BIND_ADDRESS=0.0.0.0 PORT=8080 LOG_FORMAT=json
USER 65532:65532
EXPOSE 8080
# Ready: what it needs answers. It asks itself, by its own configuration.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/local/bin/nexus-gateway", "health"]
ENTRYPOINT ["/usr/local/bin/nexus-gateway"]
