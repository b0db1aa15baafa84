import { peer } from './peer.ts';

export const wstunnel = peer({
  name: 'wstunnel',
  programs: ['wstunnel'],
  versionFlag: '--version',
  plan: ({ control, visitors, origin }) => ({
    server: ['wstunnel', 'server', '--log-lvl', 'OFF', `ws://127.0.0.1:${control}`],
    client: [
      ...['wstunnel', 'client', '--log-lvl', 'OFF'],
      ...['-R', `tcp://127.0.0.1:${visitors}:127.0.0.1:${origin}`, `ws://127.0.0.1:${control}`],
    ],
  }),
});
