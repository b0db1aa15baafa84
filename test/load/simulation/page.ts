import { show } from '../summary.ts';
import type { SimulationRun } from './simulation.ts';
import type { Work } from './work.ts';

/** The figures as the docs show them. */
export function markdown({ at, machine, steps, registered, registryBytes, portBytes, relayed, restart }: SimulationRun): string {
  const head = ['', ...steps.map(({ leases }) => `${leases.toLocaleString('en')} leases`)];
  const row = (name: string, pick: (step: (typeof steps)[number]) => number): string =>
    `| ${name} | ${steps.map((step) => show(pick(step))).join(' | ')} |`;
  const work = (name: string, pick: (step: (typeof steps)[number]) => Work): string[] => [
    row(`${name}: µs of Redis' CPU`, (step) => pick(step).redisMicros),
    row(`a second here, with the scripts' caller on the same machine`, (step) => pick(step).perSecond),
  ];
  return [
    `${at.slice(0, 10)}, ${machine}. A device of the registry takes ${show(registryBytes)} B (${show(registered.perSecond)} loaded a second), a free port ${show(portBytes)} B.`,
    [
      `| ${head.join(' | ')} |`,
      `| --- |${' ---: |'.repeat(steps.length)}`,
      row("a lease, B of Redis' memory", (step) => step.leaseBytes),
      ...work('a new device', (step) => step.acquired),
      row('of it scripts', (step) => step.acquired.scripts),
      row('and events', (step) => step.eventsPerAcquire),
      ...work('a lease asserted to a store that lost it', (step) => step.restored),
      ...work('a device released, because its ingress is gone', (step) => step.released),
      ...work('and set to grace by the sweep', (step) => step.advanced),
      row('a look at what is due, ms', (step) => step.dueMs),
      row('a judgement over all instances, ms', (step) => step.judgeMs),
    ].join('\n'),
    `The relay brings ${show(relayed.perSecond)} events a second into JetStream (${relayed.events.toLocaleString('en')} here), ${show(relayed.natsMicros)} µs of NATS' CPU and ${show(relayed.bytes)} B on its disk each. ` +
      `Redis with ${restart.leases.toLocaleString('en')} leases starts again in ${show(restart.seconds)} s, from a rewritten file of ${show(restart.fileBytes / 2 ** 20)} MiB.`,
  ].join('\n\n');
}
