import { type Endpoint, tcpHostOf } from '@culvert/contracts';
import type { EndpointMessage } from '@culvert/wire';

/** How a device is told where one of its endpoints is reached. */
export type PublicSide = (endpoint: Endpoint, listener: string) => EndpointMessage;

const DEFAULT_PORT = { http: 80, https: 443 };

/**
 * @param scheme What visitors speak to the edge, whatever the device speaks behind it.
 * @param edgePort The edge's port as it stands in URLs; 0 or the scheme's own is left out.
 * @param tcpHost The host named beside the public ports of tcp endpoints; `{listener}` in it stands for who has the port.
 */
export function publicSideOf(scheme: 'http' | 'https', edgePort: number, tcpHost: string): PublicSide {
  const suffix = edgePort === 0 || edgePort === DEFAULT_PORT[scheme] ? '' : `:${edgePort}`;
  return ({ port, host, public_port }, listener) =>
    host === undefined
      ? { type: 'endpoint', port, host: tcpHostOf(tcpHost, listener), public_port }
      : { type: 'endpoint', port, url: `${scheme}://${host}${suffix}` };
}
