import { startStack } from '../harness/system.ts';
import { runEmptied } from './emptied.ts';
import { Storm, stormText } from './storm.ts';

/** All of them must be back within this time, as shipped: 5,000 devices on two cores. */
export const BACK_MS = 60_000;
const CONNECT_MS = 240_000;
const SPARE_PORTS = 100;

/**
 * Connects `devices` raw clients, cuts all their links at once, waits until they are back, and then empties the store under
 * them. What was wrong, in sentences.
 */
export async function runStorm(devices: number, tell: (text: string) => void): Promise<string[]> {
  const stack = await startStack({
    env: { CULVERT_REPLICAS: 'ws-ingress=2,lease-manager=2,port-allocator=2' },
    tcpPorts: devices + SPARE_PORTS,
  });
  let storm: Storm | undefined;
  try {
    const startedAt = performance.now();
    storm = await Storm.start(stack.info, devices, CONNECT_MS);
    tell(`${devices} devices connected in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
    const report = await storm.strike(BACK_MS * 2);
    tell(stormText(devices, report));
    const faults: string[] = [];
    if (report.missing.length > 0)
      faults.push(`${report.missing.length} devices did not come back: ${report.missing.slice(0, 5).join(', ')}`);
    if (report.backMs > BACK_MS) faults.push(`they were back after ${report.backMs} ms; at most ${BACK_MS} were promised`);
    if (report.missing.length === 0) faults.push(...(await runEmptied(stack.info, storm, tell)));
    return faults;
  } finally {
    storm?.stop();
    await stack.stop();
  }
}
