import { peer } from './peer.ts';

export const chisel = peer({
  name: 'chisel',
  programs: ['chisel'],
  versionFlag: '--version',
  plan: ({ control, visitors, origin }) => ({
    server: ['chisel', 'server', '--host', '127.0.0.1', '--port', `${control}`, '--reverse'],
    client: ['chisel', 'client', `http://127.0.0.1:${control}`, `R:127.0.0.1:${visitors}:127.0.0.1:${origin}`],
  }),
});
