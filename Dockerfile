# syntax=docker/dockerfile:1
# The image of cspr-relay: `docker build -t cspr-relay .`
#
# What the last stage holds is the relay, what it was made of (its SBOM), a directory for its data and the base: libc,
# libgcc, certificates, and no shell. The first stage fails if the relay needs any other library, or grows too large.

FROM rust:1.95-bookworm AS build
WORKDIR /src
# The list of dependencies goes into the binary, for `cargo audit bin`, and beside it.
RUN cargo install --locked cargo-auditable@0.7.7 cargo-cyclonedx@0.5.9
# Dependencies have a layer of their own, which lasts until Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests/it benches/relay \
    && for file in src/lib src/main tests/it/main benches/relay/main; do echo 'fn main() {}' > "$file.rs"; done \
    && cargo auditable build --locked --release \
    && rm -r src/*
COPY . .
RUN touch src/main.rs src/lib.rs \
    && cargo auditable build --locked --release \
    && cargo cyclonedx --format json --override-filename sbom.cdx \
    && mkdir -p /image/usr/local/bin /image/usr/share/doc/cspr-relay /image/data \
    && strip -o /image/usr/local/bin/cspr-relay target/release/cspr-relay \
    && cp LICENSE sbom.cdx.json /image/usr/share/doc/cspr-relay/ \
    && scripts/vet-binary /image/usr/local/bin/cspr-relay \
    && chown 65532:65532 /image/data

FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="cspr-relay" \
      org.opencontainers.image.description="Carries CSPR.cloud events to signed webhooks, Kafka and AMQP, and loses none of them" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image /
ENV CSPR_RELAY_CONFIG=/etc/cspr-relay/config/cspr-relay.yaml
USER 65532:65532
WORKDIR /data
EXPOSE 9464
HEALTHCHECK --start-period=60s CMD ["/usr/local/bin/cspr-relay", "health"]
ENTRYPOINT ["/usr/local/bin/cspr-relay"]
CMD ["run"]
