import type { Peer } from '../peer.ts';
import { LISTENER } from '../server.ts';
import type { Bench, Item } from '../suite.ts';
import { echo } from '../targets.ts';
import { check, never, until } from '../wait.ts';
import { PORT, readyAgent } from './kit.ts';

const isWarm = (peer: Peer): boolean => peer.request.query.get('warm') === '1';

async function visit(bench: Bench, control: Peer): Promise<void> {
  const transfer = await bench.server.open(control, PORT);
  await transfer.send('visit');
  await transfer.gets('an echo', 'visit');
  await transfer.end();
  await transfer.finish();
  transfer.socket.end();
}

/** An agent with one warm transfer that waits. */
async function warmed(bench: Bench, warm = 1): Promise<{ control: Peer; waiting: Peer }> {
  const { control } = await readyAgent(bench, echo, { warm });
  await visit(bench, control);
  const waiting = await bench.server.next('a warm transfer after a visit', isWarm);
  return { control, waiting: await waiting.accept() };
}

/** One visitor on a warm transfer, from assign to idle. */
async function served(warm: Peer, id: string, says: string): Promise<void> {
  const before = warm.received;
  await warm.say({ type: 'assign', id, port: PORT, visitor: '192.0.2.7:1' });
  await warm.send(says);
  await until(`accepted for ${id}`, () => warm.texts.find((text) => text.type === 'accepted' && text.id === id) ?? warm.over);
  await until('an echo', () => warm.received >= before + says.length || warm.over);
  check(
    warm.data.subarray(before).toString() === says,
    `visitor ${id} got ${JSON.stringify(warm.data.subarray(before).toString())}`,
  );
  check(!warm.texts.some((text) => text.type === 'idle' && text.id === id), 'idle came before both ENDs');
  await warm.end();
  await until(`idle after ${id}`, () => warm.texts.find((text) => text.type === 'idle' && text.id === id) ?? warm.over);
  warm.fault = undefined; // END of each visitor in turn is no second END
  check(warm.closed === undefined && !warm.gone, 'it closed a transfer that it could use again');
  check(warm.ends === 1, `${warm.ends} ENDs were sent for one visitor`);
  warm.ends = 0;
}

export const WARM: Item[] = [
  {
    name: 'warm-asks',
    what: 'warm transfers are asked for after a visit only, one first, then up to the number it named',
    claim: 'warm',
    async run(bench) {
      const { control } = await readyAgent(bench, echo, { warm: 3 });
      check(control.request.query.get('warm') === '3', `it names warm=${control.request.query.get('warm')}; expected 3`);
      await never('it asked before any visit', 400, () => bench.server.peers.some(isWarm));
      await visit(bench, control);
      const first = await bench.server.next('a warm transfer after a visit', isWarm);
      check(first.request.path === `/v1/transfer/${LISTENER}`, `it asked for ${first.request.path}`);
      await never('it asked for more before the first was granted', 300, () => bench.server.peers.filter(isWarm).length > 1);
      await first.accept();
      await until('the others', () => bench.server.peers.filter(isWarm).length >= 3);
      for (const peer of bench.server.peers.filter(isWarm)) if (peer !== first) await peer.accept();
      await never('it asked for more than it named', 500, () => bench.server.peers.filter(isWarm).length > 3);
    },
  },
  {
    name: 'warm-refused',
    what: 'when warm transfers are refused with Retry-After, it does not ask again before',
    claim: 'warm',
    async run(bench) {
      const { control } = await readyAgent(bench, echo, { warm: 2 });
      await visit(bench, control);
      (await bench.server.next('a warm transfer after a visit', isWarm)).refuse('rate_limited', 30);
      await visit(bench, control);
      await never('it asked again', 1_500, () => bench.server.peers.filter(isWarm).length > 1);
      control.inOrder();
    },
  },
  {
    name: 'warm-recycled',
    what: 'one warm transfer serves visitors one after the other, each with its own bytes; idle after both ENDs',
    claim: 'warm',
    async run(bench) {
      const { waiting } = await warmed(bench);
      for (let count = 0; count < 5; count++) await served(waiting, `visitor-${count}`, `bytes of ${count};`);
      await waiting.ping('still');
      await until('a pong', () => waiting.pongs.includes('still'));
    },
  },
  {
    name: 'warm-idle',
    what: 'idle comes only once both ENDs have passed, and nothing before accepted',
    claim: 'warm',
    async run(bench) {
      const target = await bench.target((socket) => socket.end('short'));
      bench.start({ mappings: [`tcp:${PORT}=${target.address}`], warm: 1 });
      const control = await bench.server.connected();
      const first = await bench.server.open(control, PORT);
      await first.gets('the answer', 'short');
      await first.end();
      await first.finish();
      const warm = await (await bench.server.next('a warm transfer after a visit', isWarm)).accept();
      await never('it sent something to nobody', 200, () => warm.order.length > 0);
      await warm.say({ type: 'assign', id: 'a', port: PORT, visitor: '' });
      await warm.gets('the answer', 'short');
      check(warm.order[0] === 'accepted', `the first it sent was ${warm.order[0]}; expected accepted`);
      await until('END', () => warm.ends === 1 || warm.over);
      await never('idle came before both ENDs', 500, () => warm.said('idle') !== undefined);
      await warm.end();
      await until('idle', () => warm.said('idle') ?? warm.over);
      check(warm.closed === undefined, 'it closed a transfer that it could use again');
    },
  },
  {
    name: 'warm-assign-refused',
    what: 'a visitor of a port it did not declare is refused, its bytes are thrown away, and the transfer waits again',
    claim: 'warm',
    async run(bench) {
      const { waiting } = await warmed(bench);
      await waiting.say({ type: 'assign', id: 'nobody', port: 9, visitor: '' });
      await waiting.send('bytes of nobody');
      const refused = await until(
        'refused',
        () => waiting.said('refused') ?? (waiting.over ? { code: 'a closed connection' } : undefined),
      );
      check(refused.code === 'not_allowed', `refused as ${String(refused.code)}`);
      await waiting.send('more of nobody');
      await served(waiting, 'somebody', 'bytes of somebody');
    },
  },
];
