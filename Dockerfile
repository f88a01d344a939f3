# An argument, so that a build can pin a digest or use a mirror.
ARG NODE_IMAGE=node:26-slim

# With `on`, the image can make fitted copies (docs/fit.md): it then has a library under the LGPL.
ARG FIT=off

FROM ${NODE_IMAGE} AS build
ARG FIT
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund
COPY fit/package.json fit/package-lock.json ./fit/
RUN if [ "$FIT" = on ]; then npm ci --prefix fit --ignore-scripts --no-audit --no-fund; fi
COPY src ./src
# A clone made under a strict umask has files that only its owner can read.
RUN chmod -R a+rX . && chmod a+x src/cli.ts

FROM ${NODE_IMAGE}
ENV NODE_ENV=production DATA_DIR=/data HOST=0.0.0.0 PORT=8080
WORKDIR /app
COPY --from=build /app ./
# `docker compose exec layover layover …`
RUN ln -s /app/src/cli.ts /usr/local/bin/layover
# A new named volume takes its owner from here. Numbers, so that no base image needs to know a name for them.
RUN mkdir -p /data && chown 1000:1000 /data
VOLUME /data
EXPOSE 8080
USER 1000:1000
# Whether the process is alive, not /readyz: a restart mends no store that is out, and would cut off uploads.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT || 8080}/healthz`).then(({ ok }) => process.exit(ok ? 0 : 1))"]
# No shell and no npm in between, so that SIGTERM reaches the server.
CMD ["node", "--max-semi-space-size=8", "src/main.ts"]
