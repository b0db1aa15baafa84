import { peer } from './peer.ts';

export const rathole = peer({
  name: 'rathole',
  programs: ['rathole'],
  versionFlag: '--version',
  plan: ({ control, visitors, origin }) => ({
    files: {
      'server.toml': `[server]
bind_addr = "127.0.0.1:${control}"
default_token = "bench"
[server.services.bench]
bind_addr = "127.0.0.1:${visitors}"
`,
      'client.toml': `[client]
remote_addr = "127.0.0.1:${control}"
default_token = "bench"
[client.services.bench]
local_addr = "127.0.0.1:${origin}"
`,
    },
    server: ['rathole', '--server', 'server.toml'],
    client: ['rathole', '--client', 'client.toml'],
  }),
});
