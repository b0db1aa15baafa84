/**
 * Loaded into a process by `--import=<this file>?<folder>`: the first SIGUSR2 starts a CPU profile of each of its threads, the second
 * one writes them, <folder>/<pid>.<thread>.cpuprofile, and then that of the main thread, <folder>/<pid>.cpuprofile. Costs nothing before.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { join } from 'node:path';
import { isMainThread } from 'node:worker_threads';

const dir = decodeURIComponent(new URL(import.meta.url).search.slice(1));
const SAMPLE_US = 500;
/** Of a thread that has ended meanwhile nothing comes. */
const THREAD_MS = 2_000;
const START: [string, object?][] = [
  ['Profiler.enable'],
  ['Profiler.setSamplingInterval', { interval: SAMPLE_US }],
  ['Profiler.start'],
];
const STOP = 99;

interface FromThread {
  params: { sessionId: string; message: string };
}
interface Thread {
  params: { sessionId: string; workerInfo: { title: string } };
}

let session: Session | undefined;
/** Names of the other threads, by their sessions. */
const threads = new Map<string, string>();

function save(name: string, profile: object | undefined): void {
  const file = join(dir, `${process.pid}${name}.cpuprofile`);
  writeFileSync(`${file}.part`, JSON.stringify(profile ?? {}));
  renameSync(`${file}.part`, file);
}

function start(): Session {
  const started = new Session();
  started.connect();
  for (const [method, params] of START) started.post(method, params);
  started.on('NodeWorker.attachedToWorker', ({ params }: Thread) => {
    threads.set(params.sessionId, params.workerInfo.title);
    for (const [id, [method, own]] of START.entries()) tell(started, params.sessionId, { id, method, params: own });
  });
  started.post('NodeWorker.enable', { waitForDebuggerOnStart: false });
  return started;
}

function tell(from: Session, sessionId: string, message: object): void {
  from.post('NodeWorker.sendMessageToWorker', { sessionId, message: JSON.stringify(message) });
}

/** Writes the profiles of the other threads. */
async function stopThreads(ending: Session): Promise<void> {
  const all = [...threads].map(async ([sessionId, name]) => {
    const profile = await new Promise<object | undefined>((resolve) => {
      setTimeout(resolve, THREAD_MS, undefined);
      ending.on('NodeWorker.receivedMessageFromWorker', ({ params }: FromThread) => {
        const { id, result } = JSON.parse(params.message) as { id?: number; result?: { profile?: object } };
        if (params.sessionId === sessionId && id === STOP) resolve(result?.profile);
      });
      tell(ending, sessionId, { id: STOP, method: 'Profiler.stop' });
    });
    if (profile !== undefined) save(`.${name.split(' ').at(-1)}`, profile);
  });
  threads.clear();
  await Promise.all(all);
}

if (isMainThread) {
  process.on('SIGUSR2', async () => {
    if (session === undefined) {
      session = start();
      return;
    }
    const ending = session;
    session = undefined;
    await stopThreads(ending);
    ending.post('Profiler.stop', (error, result) => {
      ending.disconnect();
      save('', error === null ? result.profile : undefined);
    });
  });
}
