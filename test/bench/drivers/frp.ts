import type { Driver } from './driver.ts';
import { peer } from './peer.ts';

const frp = (name: string, mux: boolean, pool: number): Driver =>
  peer({
    name,
    programs: ['frps', 'frpc'],
    versionFlag: '--version',
    plan: ({ control, visitors, origin }) => ({
      files: {
        'frps.toml': `bindAddr = "127.0.0.1"
bindPort = ${control}
transport.tcpMux = ${mux}
transport.maxPoolCount = ${pool}
log.level = "error"
`,
        'frpc.toml': `serverAddr = "127.0.0.1"
serverPort = ${control}
transport.tcpMux = ${mux}
transport.poolCount = ${pool}
transport.tls.enable = false
log.level = "error"
[[proxies]]
name = "bench"
type = "tcp"
localIP = "127.0.0.1"
localPort = ${origin}
remotePort = ${visitors}
`,
      },
      server: ['frps', '-c', 'frps.toml'],
      client: ['frpc', '-c', 'frpc.toml'],
    }),
  });

export const frpMux = frp('frp, tcpMux', true, 0);
export const frpPool = frp('frp, pool of 16', false, 16);
