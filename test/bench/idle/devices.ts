/** Many devices in one process, that hold a control connection and do nothing else. Told what to do by messages. */
import { formatPortList } from '@culvert/contracts';
import { ControlSocket, connectWebSocket } from '@culvert/relay';

export interface Batch {
  port: number;
  devices: { name: string; token: string }[];
  /** Handshakes at once. */
  width: number;
}

export interface Progress {
  ready: number;
  /** Connections that ended, or never began, and why the last one did. */
  lost: number;
  why: string;
  done: boolean;
}

const progress: Progress = { ready: 0, lost: 0, why: '', done: false };
const PORTS = formatPortList([{ port: 9, scheme: 'tcp' }]);
const RETRIES = 20;

async function open(port: number, name: string, token: string): Promise<void> {
  const path = `/v1/control?${new URLSearchParams({ name, ports: PORTS })}`;
  const upgraded = await connectWebSocket({ host: '127.0.0.1', port, path, token, deadlineMs: 30_000 });
  await new Promise<void>((resolve, reject) => {
    let ready = false;
    new ControlSocket(upgraded, {
      role: 'client',
      onText: (text) => {
        if (ready || !text.includes('"ready"')) return;
        ready = true;
        progress.ready += 1;
        resolve();
      },
      onGone: ({ close, reason }) => {
        if (!ready) {
          reject(new Error(`${close} ${reason}`));
          return;
        }
        progress.ready -= 1;
        progress.lost += 1;
        progress.why = `${close} ${reason}`;
      },
    });
  });
}

/** A refused device comes again, as agents do. */
async function persist(port: number, name: string, token: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await open(port, name, token);
      return;
    } catch (error) {
      progress.why = (error as Error).message;
      if (attempt < RETRIES) await new Promise((done) => setTimeout(done, 200 * Math.random() * attempt));
      else {
        progress.lost += 1;
        return;
      }
    }
  }
}

process.on('message', async ({ port, devices, width }: Batch) => {
  progress.done = false;
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let device = devices[next++]; device !== undefined; device = devices[next++]) {
      await persist(port, device.name, device.token);
    }
  };
  await Promise.all(Array.from({ length: width }, lane));
  progress.done = true;
});
setInterval(() => process.send?.(progress), 100);
process.on('disconnect', () => process.exit(0));
