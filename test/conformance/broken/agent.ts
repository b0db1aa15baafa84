/**
 * A good agent with one thing wrong: `agent.ts <item>` fails that item of the conformance suite. For tests of the suite. The
 * settings come from the environment, as the suite gives them.
 */
import { createAgent, type Mapping, parseMapping } from '@culvert/agent';
import { BREAKAGES } from './breakages.ts';
import { Middle } from './middle.ts';

const what = process.argv[2] ?? '';
const { CULVERT_SERVER = '', CULVERT_NAME = '', CULVERT_TOKEN = '', CULVERT_MAPPINGS = '', HTTP_PROXY } = process.env;
const { CULVERT_WARM, CULVERT_INLINE, CULVERT_TRANSFERS } = process.env;
const breakage = what === 'nothing' ? { says: '' } : BREAKAGES[what];
if (breakage === undefined) throw new Error(`nothing is known that breaks ${what}`);
if (what === 'jitter') Math.random = () => 0.5;

const middle = new Middle(Number(new URL(CULVERT_SERVER).port), breakage, HTTP_PROXY);
const mappings = CULVERT_MAPPINGS.split(' ').flatMap((text): Mapping[] => {
  const parsed = parseMapping(text);
  return parsed.ok ? [parsed.mapping] : [];
});
const agent = createAgent({
  servers: [`http://127.0.0.1:${await middle.listen()}`],
  name: CULVERT_NAME,
  token: CULVERT_TOKEN,
  mappings,
  proxy: null,
  warm: Number(CULVERT_WARM),
  inline: Number(CULVERT_INLINE),
  transfers: Number(CULVERT_TRANSFERS),
});
const stop = new AbortController();
process.on('SIGTERM', () => stop.abort());
await agent.run({ signal: stop.signal });
process.exit(0);
