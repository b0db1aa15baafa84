/** A process of simulated devices, told what to do by messages: see words.ts. */
import { echo, startTcpTarget, startWebTarget } from '../harness/targets.ts';
import { Device, type Fleet } from './device.ts';
import type { CrowdPlan, CrowdProgress, ToCrowd } from './words.ts';

const REPORT_MS = 200;

const empty = (): CrowdProgress => ({
  ...{ kind: 'progress', ready: 0, lost: 0, refusals: {}, dials: 0, readyMs: [], places: [] },
});
const totals = empty();
const devices: Device[] = [];

async function start(plan: CrowdPlan): Promise<void> {
  const targets = { web: (await startWebTarget()).port, echo: (await startTcpTarget(echo)).port };
  let inside = 0;
  const queue: (() => void)[] = [];
  const leave = (): void => {
    const next = queue.shift();
    if (next === undefined) inside -= 1;
    else next();
  };
  const enter = async (): Promise<() => void> => {
    if (inside < plan.width) inside += 1;
    else await new Promise<void>((resolve) => queue.push(resolve));
    return leave;
  };
  const fleet: Omit<Fleet, 'controlPort'> = {
    edgePort: plan.edge,
    targets,
    enter,
    onReady(device, place, ms) {
      if (ms !== undefined) {
        totals.ready += 1;
        totals.readyMs.push(Math.round(ms));
      }
      totals.places.push([device.index, place]);
    },
    onLost() {
      totals.ready -= 1;
      totals.lost += 1;
    },
    onRefused(why) {
      totals.refusals[why] = (totals.refusals[why] ?? 0) + 1;
    },
    onDial() {
      totals.dials += 1;
    },
  };
  for (const [at, named] of plan.devices.entries()) {
    const controlPort = plan.control[at % plan.control.length] ?? plan.edge;
    const device = new Device(plan.first + at, named, { ...fleet, controlPort });
    devices.push(device);
    void device.connect();
  }
}

process.on('message', (message: ToCrowd) => {
  if (message.kind === 'crowd') void start(message);
  else for (const device of devices) device.drop();
});
setInterval(() => {
  if (process.connected) process.send?.(totals);
  totals.readyMs = [];
  totals.places = [];
}, REPORT_MS);
process.on('disconnect', () => process.exit(0));
