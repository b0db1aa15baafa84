/**
 * Loaded into a process by `--import=<this file>?<folder>`: the first SIGUSR2 starts a CPU profile, the second one writes
 * <folder>/<pid>.cpuprofile. Costs nothing before.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { join } from 'node:path';

const dir = decodeURIComponent(new URL(import.meta.url).search.slice(1));
const SAMPLE_US = 500;
let session: Session | undefined;

process.on('SIGUSR2', () => {
  if (session === undefined) {
    session = new Session();
    session.connect();
    session.post('Profiler.enable');
    session.post('Profiler.setSamplingInterval', { interval: SAMPLE_US });
    session.post('Profiler.start');
    return;
  }
  const ending = session;
  session = undefined;
  ending.post('Profiler.stop', (error, result) => {
    ending.disconnect();
    const file = join(dir, `${process.pid}.cpuprofile`);
    writeFileSync(`${file}.part`, error === null ? JSON.stringify(result.profile) : '{}');
    renameSync(`${file}.part`, file);
  });
});
