import type { Driver } from './driver.ts';
import { startHop } from './hops/pair.ts';
import { NGINX_STREAM, startNginx, streamTo, withoutStream } from './nginx.ts';

const httpBefore = (port: number, target: number): string => `http { access_log off;
  upstream hops { server 127.0.0.1:${target}; keepalive 512; }
  server { listen 127.0.0.1:${port} backlog=4096; keepalive_requests 1000000;
    location / { proxy_pass http://hops; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_buffering off; } } }`;

const beforeNode = (name: string, nginxBetween: boolean): Driver => ({
  name,
  unavailable: nginxBetween ? withoutStream : async () => undefined,
  start: async (originPort) => {
    const far = await startHop('./node-hop.ts', originPort);
    const between = nginxBetween ? await startNginx(streamTo(far.port), NGINX_STREAM) : undefined;
    const near = await startHop('./node-hop.ts', between?.port ?? far.port);
    const nginx = await startNginx((port) => httpBefore(port, near.port));
    return {
      ports: [],
      parts: { listener: [near.pid], agent: [far.pid], edge: [...nginx.pids, ...(between?.pids ?? [])] },
      http: { port: nginx.port, host: 'bench' },
      version: nginx.version,
      stop: async () => {
        await nginx.stop();
        await between?.stop();
        near.child.disconnect();
        far.child.disconnect();
      },
    };
  },
});

/** Plain nginx as a reverse proxy with keep-alive, in front of two plain Node hops: what HTTP by the edge is compared with. */
export const nginxHttp = beforeNode('nginx http, then plain Node', false);

/** The same with a second nginx between both hops, where transfers by the edge pass it: what the way costs with nothing done on it. */
export const nginxHttpAndStream = beforeNode('nginx http, Node, nginx stream, Node', true);
