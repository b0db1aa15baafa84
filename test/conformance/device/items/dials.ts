import { spawn } from 'node:child_process';
import { connect } from 'node:net';
import type { Item } from '../suite.ts';
import { echo } from '../targets.ts';
import { check, never, until } from '../wait.ts';
import { PORT, readyAgent } from './kit.ts';

export const DIALS: Item[] = [
  {
    name: 'not-allowed',
    what: 'a port that it did not declare is refused as not_allowed, and nothing is connected',
    async run(bench) {
      const { control, target } = await readyAgent(bench, echo);
      const answer = await bench.server.dial(control, target.port);
      check(answer === 'not_allowed', typeof answer === 'string' ? `refused as ${answer}` : 'it opened a transfer');
      check(target.sockets.length === 0, 'it connected to a port that it did not declare');
      control.inOrder();
    },
  },
  {
    name: 'local-refused',
    what: 'a target that refuses gives local_refused',
    async run(bench) {
      bench.start({ mappings: ['tcp:7=127.0.0.1:1'] });
      const control = await bench.server.connected();
      const dial = bench.server.dialOf(PORT);
      await control.say(dial);
      const refused = () => control.texts.find((text) => text.type === 'refused' && text.id === dial.id);
      // A transfer may be opened first; then the device closes it with the code of the table.
      const opened = () => bench.server.peers.find((peer) => peer.id === dial.id);
      const answer = await until('refused', () => refused() ?? opened());
      const peer = opened();
      if (peer === undefined)
        check((answer as { code: unknown }).code === 'local_refused', `refused as ${(answer as { code: unknown }).code}`);
      else {
        await peer.accept();
        await until('refused, or close 4420', () => refused() ?? peer.closed);
        check(refused()?.code === 'local_refused' || peer.closed?.code === 4420, 'the reason is not local_refused');
      }
      control.inOrder();
    },
  },
  {
    name: 'local-timeout',
    what: 'a target that does not answer gives local_timeout',
    waits: true,
    async run(bench) {
      const silent = await silentPort();
      bench.onEnd(silent.stop);
      bench.start({ mappings: [`tcp:7=127.0.0.1:${silent.port}`] });
      const control = await bench.server.connected();
      const answer = await bench.server.dial(control, PORT);
      check(answer === 'local_timeout', typeof answer === 'string' ? `refused as ${answer}` : 'it opened a transfer');
      control.inOrder();
    },
  },
  {
    name: 'busy',
    what: 'beyond the transfers that it named, dials are refused as busy',
    claim: 'limit',
    async run(bench) {
      const { control } = await readyAgent(bench, echo, { transfers: 2 });
      check(
        control.request.query.get('transfers') === '2',
        `it names transfers=${control.request.query.get('transfers')}; expected 2`,
      );
      const first = await bench.server.open(control, PORT);
      await bench.server.open(control, PORT);
      const third = await bench.server.dial(control, PORT);
      check(third === 'busy', typeof third === 'string' ? `refused as ${third}` : 'it opened a third transfer');
      await first.end();
      await first.finish();
      first.socket.end();
      for (
        let answer = await bench.server.dial(control, PORT);
        typeof answer === 'string';
        answer = await bench.server.dial(control, PORT)
      ) {
        check(answer === 'busy', `refused as ${answer}`); // the place is free once the ending is through
      }
    },
  },
  {
    name: 'path',
    what: 'a transfer is asked for as the dial says, with subprotocol and token',
    async run(bench) {
      const { control } = await readyAgent(bench, echo);
      const dial = bench.server.dialOf(PORT);
      await control.say(dial);
      const transfer = await bench.server.answerTo(control, dial.id);
      if (typeof transfer === 'string') return check(false, `the dial was refused as ${transfer}`);
      const { headers, target } = transfer.request;
      check(target === dial.path, `it asked for ${target}; expected ${dial.path}`);
      check(headers.get('authorization') === control.request.headers.get('authorization'), 'the token is another one');
      check(headers.get('sec-websocket-protocol')?.includes('culvert.v1') === true, 'the subprotocol is missing');
      check(!headers.has('sec-websocket-extensions'), 'it offers extensions');
      transfer.refuse('not_found');
      await never('a refused transfer ended the control connection', 300, () => control.over);
      const next = await bench.server.open(control, PORT);
      await next.send('next');
      await next.gets('an echo', 'next');
    },
  },
];

/** A port where nobody accepts and the kernel's queue is full, so that it answers no further attempt. */
async function silentPort(): Promise<{ port: number; stop(): Promise<void> }> {
  const script =
    'import socket,sys; s=socket.socket(); s.bind(("127.0.0.1",0)); s.listen(0); print(s.getsockname()[1],flush=True); sys.stdin.read()';
  const child = spawn('python3', ['-c', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  const port = await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.stdout.once('data', (text: Buffer) => resolve(Number(text)));
  });
  const fillers = Array.from({ length: 4 }, () => connect(port, '127.0.0.1').on('error', () => {}));
  await new Promise((done) => fillers[0]?.once('connect', done));
  return {
    port,
    stop: async () => {
      for (const filler of fillers) filler.destroy();
      child.kill('SIGKILL');
    },
  };
}
