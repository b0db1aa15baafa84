import { peer } from './peer.ts';

/** Its server has a fixed port for clients. */
const CONTROL = 7835;

export const bore = peer({
  name: 'bore',
  programs: ['bore'],
  versionFlag: '--version',
  plan: ({ visitors, origin }) => ({
    control: CONTROL,
    server: ['bore', 'server', '--min-port', '1024'],
    client: ['bore', 'local', `${origin}`, '--to', '127.0.0.1', '--port', `${visitors}`],
  }),
});
