import { beforeAll, expect, it } from 'vitest';
import { installSystemPackages } from '../../../../deploy/local/bin/system.mjs';
import { restsLonger } from '../../../sdk/test/past-edge.ts';
import { pastEdge } from '../agent-kit.ts';
import { BUILD_MS, builtAgent } from '../build.ts';

await installSystemPackages(['native']);
let program: string;

beforeAll(async () => {
  program = await builtAgent();
}, BUILD_MS);

it('tries a direct address that gives nothing after rests that double, until it gives a transfer', {
  timeout: 420_000,
}, async () => {
  const { agent, ...scene } = await pastEdge(program);
  await restsLonger(scene, 60_000); // what the agent in C has built in
  expect(await agent.stop()).toBe(0);
});
