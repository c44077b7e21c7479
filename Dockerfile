# syntax=docker/dockerfile:1
# One node. Its folder is /var/lib/p2p-oicp: mount a volume there, with a node.toml in it or with the settings in the
# environment (P2P_OICP_NODE__NAME, …); docs/deployment.md.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements-node.lock ./
RUN python -m venv /opt/p2p-oicp \
    && /opt/p2p-oicp/bin/pip install --no-cache-dir --require-hashes --requirement requirements-node.lock
COPY pyproject.toml README.md LICENSE ./
COPY p2p_oicp ./p2p_oicp
RUN /opt/p2p-oicp/bin/pip install --no-cache-dir --no-deps .

FROM python:3.13-slim
# A fixed number, so that a volume has the same owner in each version of the image.
RUN groupadd --system --gid 8320 p2p-oicp \
    && useradd --system --uid 8320 --gid p2p-oicp --home-dir /var/lib/p2p-oicp --no-create-home p2p-oicp \
    && install -d -o p2p-oicp -g p2p-oicp -m 0700 /var/lib/p2p-oicp
COPY --from=build /opt/p2p-oicp /opt/p2p-oicp
ENV PATH=/opt/p2p-oicp/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    P2P_OICP_PEER_API__HOST=0.0.0.0 \
    P2P_OICP_LOG__FORMAT=json
USER p2p-oicp
WORKDIR /var/lib/p2p-oicp
VOLUME ["/var/lib/p2p-oicp"]
EXPOSE 8320 8321
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import os, ssl, urllib.request as r; e = os.environ.get; s = 's' if e('P2P_OICP_BACKEND_API__CERTIFICATE') else ''; r.urlopen('http%s://127.0.0.1:%s/readyz' % (s, e('P2P_OICP_BACKEND_API__PORT', 8321)), timeout=4, context=ssl._create_unverified_context())"]
ENTRYPOINT ["p2p-oicp"]
CMD ["run", "--config", "/var/lib/p2p-oicp/node.toml"]
