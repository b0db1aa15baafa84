import type { ErrorCode } from '@culvert/contracts';
import type { Peer } from '../peer.ts';
import type { Bench, Item } from '../suite.ts';
import { echo } from '../targets.ts';
import { check, never, until } from '../wait.ts';
import { PORT, readyAgent } from './kit.ts';

/** What a timer may be early, and what a busy machine may add. */
const EARLY_MS = 150;
const LATE_MS = 20_000;
/** The slowest pace begins at 45 s; whoever stays away this long does not follow another one. */
const SLOW_MS = 22_000;

const between = (what: string, waited: number, least: number, most: number): void =>
  check(
    waited >= least - EARLY_MS && waited <= most + LATE_MS,
    `${what}: it came back after ${Math.round(waited)} ms; expected ${least} to ${most}`,
  );

/** Refuses the next handshake, and measures the wait for the one after it, which is left unanswered. */
async function waitAfter(bench: Bench, refuse: { code: ErrorCode; retryAfterS?: number }): Promise<number> {
  const seen = bench.server.controls.length;
  const peer = await until('a handshake', () => bench.server.controls[seen - 1]);
  const before = performance.now();
  peer.refuse(refuse.code, refuse.retryAfterS);
  const next = await until(`another attempt after ${refuse.code}`, () => bench.server.controls[seen]);
  return next.request.at - before;
}

export const RECONNECT: Item[] = [
  {
    name: 'pace-slow',
    what: 'after 400, 401 and 403, and a close as revoked, it does not come back soon',
    claim: 'reconnect',
    waits: true,
    async run(bench) {
      const refused = new Map<string | null, string>();
      for (const code of ['bad_request', 'unauthorized', 'forbidden'] as const) {
        bench.start();
        const peer = await bench.server.nextControl();
        refused.set(peer.request.query.get('boot'), code);
        peer.refuse(code);
      }
      bench.start();
      const revoked = await bench.server.connected();
      await revoked.say({ type: 'bye', code: 'revoked', message: '' });
      await revoked.close(4413, 'revoked');
      refused.set(revoked.request.query.get('boot'), 'revoked');
      const { length } = bench.server.controls;
      const again = await never('', SLOW_MS, () => bench.server.controls.length > length).catch(
        () => bench.server.controls[length],
      );
      check(!again, `it came back within 22 s after ${refused.get(again?.request.query.get('boot') ?? null) ?? 'a refusal'}`);
      check(
        bench.agents.every((agent) => !agent.over),
        'it gave up for ever',
      );
    },
  },
  {
    name: 'pace-409',
    what: 'after 409 it waits 5 s, then 10 s',
    claim: 'reconnect',
    waits: true,
    async run(bench) {
      bench.start();
      await bench.server.nextControl();
      between('after the first 409', await waitAfter(bench, { code: 'name_in_use' }), 5_000, 6_250);
      between('after the second 409', await waitAfter(bench, { code: 'name_in_use' }), 10_000, 12_500);
    },
  },
  {
    name: 'pace-retry-after',
    what: 'Retry-After of 429 and 503 is obeyed',
    claim: 'reconnect',
    waits: true,
    async run(bench) {
      bench.start();
      await bench.server.nextControl();
      between('after 429', await waitAfter(bench, { code: 'rate_limited', retryAfterS: 4 }), 4_000, 5_000);
      between('after 503', await waitAfter(bench, { code: 'unavailable', retryAfterS: 6 }), 6_000, 7_500);
    },
  },
  {
    name: 'pace-retry-after-cap',
    what: 'Retry-After is obeyed for 20 s at most',
    claim: 'reconnect',
    waits: true,
    async run(bench) {
      bench.start();
      await bench.server.nextControl();
      between('after Retry-After: 300', await waitAfter(bench, { code: 'recovering', retryAfterS: 300 }), 20_000, 20_000);
    },
  },
  {
    name: 'jitter',
    what: 'after a loss it comes back at random: 1 to 3 s at first, then up to three times the wait before',
    claim: 'reconnect',
    waits: true,
    async run(bench) {
      const shares: number[] = [];
      const life = async (first: Peer): Promise<void> => {
        let peer = first;
        const boot = peer.request.query.get('boot');
        let before = 1_000;
        for (let round = 0; round < 2; round++) {
          const lost = performance.now();
          peer.reset();
          peer = await bench.server.next('the same agent again', (one) => one.request.query.get('boot') === boot);
          const waited = peer.request.at - lost;
          between('after a loss', waited, 1_000, before * 3);
          shares.push((waited - 1_000) / (before * 3 - 1_000));
          before = Math.max(1_000, waited);
          await peer.accept(...bench.server.greeting(peer));
        }
      };
      const lives: Peer[] = [];
      while (lives.length < 5) {
        bench.start();
        lives.push(await bench.server.connected());
      }
      await Promise.all(lives.map(life));
      const spread = Math.max(...shares) - Math.min(...shares);
      check(spread >= 0.3, `10 waits lie within ${Math.round(spread * 100)} % of their range: that is no jitter`);
    },
  },
  {
    name: 'superseded',
    what: 'closed with bye and 4411 it answers, and comes back by its own backoff',
    claim: 'reconnect',
    async run(bench) {
      const { control } = await readyAgent(bench, echo);
      const before = performance.now();
      await control.say({ type: 'bye', code: 'superseded', message: 'another took the name' });
      await control.close(4411, 'superseded');
      await until('the closing handshake', () => control.closed ?? control.gone);
      const again = await bench.server.nextControl();
      between('after superseded', again.request.at - before, 1_000, 3_000);
    },
  },
  {
    name: 'transfers-outlive',
    what: 'running transfers go on while the control connection is lost and found again',
    claim: 'reconnect',
    async run(bench) {
      const { control } = await readyAgent(bench, echo);
      const transfer = await bench.server.open(control, PORT);
      await transfer.send('before,');
      await transfer.gets('an echo', 'before,');
      control.reset();
      await transfer.send('meanwhile,');
      await transfer.gets('an echo without a control connection', 'before,meanwhile,');
      await bench.server.connected();
      await transfer.send('after');
      await transfer.gets('an echo after it came back', 'before,meanwhile,after');
      await transfer.end();
      await transfer.finish();
    },
  },
  {
    name: 'wind-down',
    what: 'wind_down: a new connection with the same boot within the slot, the old one until that is ready',
    claim: 'moves',
    async run(bench) {
      const { control } = await readyAgent(bench, echo);
      const running = await bench.server.open(control, PORT);
      const before = performance.now();
      await control.say({ type: 'wind_down', reconnect_ms: 2_000 });
      const second = await bench.server.nextControl();
      between('after wind_down', second.request.at - before, 0, 2_000);
      check(second.request.query.get('boot') === control.request.query.get('boot'), 'boot has changed');
      check(!control.over, 'the old connection was dropped before the new one was ready');
      const late = await bench.server.open(control, PORT); // dialled on the old one, still served
      await never('the old connection was dropped before the new one was ready', 300, () => control.over);
      await second.accept(...bench.server.greeting(second));
      await until('the old connection is dropped once the new one is ready', () => control.closed ?? control.gone);
      for (const transfer of [running, late]) {
        await transfer.send('go on');
        await transfer.gets('an echo after the move', 'go on');
      }
      const attempts = bench.server.controls.length;
      await never('it opened a third connection', 1_500, () => bench.server.controls.length > attempts);
      second.inOrder();
    },
  },
  {
    name: 'moved',
    what: 'closed as moved by the server after a move, it does nothing: the newer connection lives',
    claim: 'moves',
    async run(bench) {
      const { control } = await readyAgent(bench, echo);
      await control.say({ type: 'wind_down', reconnect_ms: 200 });
      const second = await bench.server.nextControl();
      await control.say({ type: 'bye', code: 'moved', message: '' });
      await control.close(4410, 'moved');
      await second.accept(...bench.server.greeting(second));
      const attempts = bench.server.controls.length;
      await never('it connected again', 4_000, () => bench.server.controls.length > attempts);
      second.inOrder();
      const transfer = await bench.server.open(second, PORT);
      await transfer.send('x');
      await transfer.gets('an echo', 'x');
    },
  },
];
