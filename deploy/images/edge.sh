#!/bin/sh
# What the image of the edge runs: renders nginx's folder out of the environment, then becomes nginx.
set -eu
for name in CULVERT_REDIS_URL CULVERT_EDGE_SECRET; do
  eval "path=\${${name}_FILE:-}"
  if [ -n "$path" ]; then
    value=$(cat "$path")
    export "$name=$value"
  fi
done
/usr/local/bin/node /app/deploy/local/src/edge-main.ts
# Logs go where the container's go: a file in memory would grow until it is full.
ln -sf /dev/stderr "$CULVERT_EDGE_PREFIX/logs/error.log"
ln -sf /dev/stdout "$CULVERT_EDGE_PREFIX/logs/access.log"
for nginx in /usr/local/openresty/nginx/sbin/nginx /usr/sbin/nginx; do
  if [ -x "$nginx" ]; then exec "$nginx" -p "$CULVERT_EDGE_PREFIX/" -c nginx.conf -e logs/error.log; fi
done
echo 'no nginx is in this image' >&2
exit 1
