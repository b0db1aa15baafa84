import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The parts of V8's `.cpuprofile` that are used here. */
export interface CpuProfile {
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[];
  samples: number[];
  /** Microseconds before each sample. */
  timeDeltas: number[];
}

export interface SelfTime {
  where: string;
  /** Of the time in which the process did something. */
  share: number;
}

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const NOT_WORK = new Set(['(idle)', '(root)', 'post  node:inspector:115']);

function nameOf({ functionName, url, lineNumber }: CpuProfile['nodes'][number]['callFrame']): string {
  const name = functionName === '' ? '(anonymous)' : functionName;
  if (url === '') return name;
  const path = url.startsWith('file:') ? relative(ROOT, fileURLToPath(url)) : url;
  return `${name}  ${path}:${lineNumber + 1}`;
}

/** How busy a process was, from 0 to 1, and its functions by self time. */
export function summarize({ nodes, samples, timeDeltas }: CpuProfile, most: number): { busy: number; top: SelfTime[] } {
  const names = new Map(nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]));
  const times = new Map<string, number>();
  let all = 0;
  let work = 0;
  samples.forEach((id, index) => {
    const name = names.get(id) ?? '(unknown)';
    const us = timeDeltas[index] ?? 0;
    all += us;
    if (NOT_WORK.has(name)) return;
    work += us;
    times.set(name, (times.get(name) ?? 0) + us);
  });
  const sorted = [...times].sort(([, a], [, b]) => b - a).slice(0, most);
  return { busy: work / Math.max(1, all), top: sorted.map(([where, us]) => ({ where, share: us / Math.max(1, work) })) };
}
