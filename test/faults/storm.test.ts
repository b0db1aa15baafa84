import { expect, it } from 'vitest';
import { runStorm } from './storm-run.ts';

it('1,000 devices that drop at once are all back within 60 s', async () => {
  const said: string[] = [];
  expect(await runStorm(1_000, (text) => said.push(text)), said.join('\n')).toEqual([]);
  console.log(said.join('\n'));
}, 300_000);
