/**
 * `npm run bench`: Culvert and its alternatives, same load, same machine, same run, variants interleaved.
 *   --quick   one short round, to try the benchmark itself
 *   --rounds 5   --only a,b   drivers of one of these names, or whose names contain it
 *   --figures bulk,small,fresh,http,stalled   some groups of figures
 */
import { fork } from 'node:child_process';
import type { AddressInfo } from 'node:net';
import { parseArgs } from 'node:util';
import { bore } from './drivers/bore.ts';
import { cRelay } from './drivers/c-relay.ts';
import { chisel } from './drivers/chisel.ts';
import { culvert, culvertDirect, culvertReplicas } from './drivers/culvert.ts';
import { direct } from './drivers/direct.ts';
import type { Driver, Path } from './drivers/driver.ts';
import { frpMux, frpPool } from './drivers/frp.ts';
import { nginxStream } from './drivers/nginx.ts';
import { nginxHttp } from './drivers/nginx-http.ts';
import { nodeProxy } from './drivers/node-proxy.ts';
import { rathole } from './drivers/rathole.ts';
import { relayAlone } from './drivers/relay.ts';
import { ssh } from './drivers/ssh.ts';
import { wsStreams } from './drivers/ws-streams.ts';
import { wstunnel } from './drivers/wstunnel.ts';
import { FULL, GROUPS, measure, QUICK } from './measures.ts';
import { enterNamespace } from './namespace.ts';
import { machine, markdown, type Result, type Run, save, short } from './report.ts';

const DRIVERS: readonly Driver[] = [
  ...[culvert, culvertDirect, culvertReplicas, relayAlone, direct, cRelay, nginxStream, nodeProxy, wsStreams, nginxHttp],
  ...[ssh, frpMux, frpPool, rathole, chisel, wstunnel, bore],
];

enterNamespace();
const { values } = parseArgs({
  options: { quick: { type: 'boolean' }, only: { type: 'string' }, rounds: { type: 'string' }, figures: { type: 'string' } },
});
const plan = values.quick ? QUICK : FULL;
const groups = GROUPS.filter((group) => values.figures?.split(',').includes(group) ?? true);
const sizes = { ...plan, rounds: Number(values.rounds ?? plan.rounds), groups };
const chosen = choose(values.only);

const origin = fork(new URL('./origin.ts', import.meta.url));
const { port } = await new Promise<AddressInfo>((resolve) =>
  origin.once('message', (message) => resolve(message as AddressInfo)),
);

const running: { result: Result; path: Path }[] = [];
const results: Result[] = [];
try {
  for (const driver of chosen) {
    const unavailable = await driver.unavailable();
    const result: Result = { name: driver.name, version: '', rounds: [], ...(unavailable === undefined ? {} : { unavailable }) };
    results.push(result);
    if (unavailable !== undefined) continue;
    console.error(`starting ${driver.name}`);
    const path = await driver.start(port);
    result.version = path.version;
    running.push({ result, path });
  }
  // What a compiler does once belongs to no round.
  for (const { path } of values.quick ? [] : running) await measure(path, { ...QUICK, groups });
  for (let round = 1; round <= sizes.rounds; round += 1) {
    for (const { result, path } of running) {
      console.error(`round ${round} of ${sizes.rounds}: ${result.name}`);
      result.rounds.push(await measure(path, sizes));
    }
  }
} finally {
  for (const { path } of running) await path.stop();
  origin.disconnect();
}
const run: Run = { at: new Date().toISOString(), machine: machine(), rounds: sizes.rounds, bytes: sizes.bytes, results };
if (!values.quick)
  await save(run, new URL('../../bench/', import.meta.url), values.only === undefined && values.figures === undefined);
console.log(`${markdown(run)}\n${short(run)}`);

function choose(only: string | undefined): readonly Driver[] {
  if (only === undefined) return DRIVERS;
  const chosen = only.split(',').flatMap((text) => {
    const word = text.trim().toLowerCase();
    const exact = DRIVERS.filter(({ name }) => name.toLowerCase() === word);
    return exact.length > 0 ? exact : DRIVERS.filter(({ name }) => name.toLowerCase().includes(word));
  });
  return DRIVERS.filter((driver) => chosen.includes(driver));
}
