import type { Driver } from './driver.ts';
import { startHop } from './hops/pair.ts';
import { startNginx } from './nginx.ts';

/** Plain nginx as a reverse proxy with keep-alive, in front of two plain Node hops: what HTTP by the edge is compared with. */
export const nginxHttp: Driver = {
  name: 'nginx http, then plain Node',
  unavailable: async () => undefined,
  start: async (originPort) => {
    const far = await startHop('./node-hop.ts', originPort);
    const near = await startHop('./node-hop.ts', far.port);
    const nginx = await startNginx(
      (port) => `http { access_log off;
  upstream hops { server 127.0.0.1:${near.port}; keepalive 512; }
  server { listen 127.0.0.1:${port} backlog=4096; keepalive_requests 1000000;
    location / { proxy_pass http://hops; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_buffering off; } } }`,
    );
    return {
      ports: [],
      parts: { listener: [near.pid], agent: [far.pid], edge: nginx.pids },
      http: { port: nginx.port, host: 'bench' },
      version: nginx.version,
      stop: async () => {
        await nginx.stop();
        near.child.disconnect();
        far.child.disconnect();
      },
    };
  },
};
