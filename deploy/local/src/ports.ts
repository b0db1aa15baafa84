import { type AddressInfo, createServer } from 'node:net';
import { claim, disclaim } from './claims.ts';

/** Binds and lets go again: the error's code, the bound port, or undefined where the address family is absent. */
async function tryBind(host: string, port: number): Promise<{ port: number } | { code: string } | undefined> {
  const server = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host, port, exclusive: true, ipv6Only: host.includes(':') }, resolve);
    });
    return { port: (server.address() as AddressInfo).port };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    return code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL' ? undefined : { code };
  } finally {
    await new Promise((done) => server.close(done));
  }
}

/** Is the loopback port free, and chosen by no other stack that starts just now? Then it is this one's. */
export async function takePort(port: number): Promise<boolean> {
  const name = `culvert-private-port-${port}`;
  if (!claim(name)) return false;
  const bound = await tryBind('127.0.0.1', port);
  if (bound !== undefined && 'port' in bound) return true;
  disclaim(name);
  return false;
}

/**
 * Private ports are taken from here: right below 32768, where Linux begins to give ports to outgoing connections, so that none
 * of those sits on a private port when a service is started again.
 */
const FIRST_PRIVATE = 32_000;
const LAST_PRIVATE = 32_767;

/** A free loopback port that is none of `taken`. */
export async function freePort(taken: readonly number[] = []): Promise<number> {
  const width = LAST_PRIVATE - FIRST_PRIVATE + 1;
  const offset = Math.floor(Math.random() * width);
  for (let tried = 0; tried < width; tried += 1) {
    const port = FIRST_PRIVATE + ((offset + tried) % width);
    if (!taken.includes(port) && (await takePort(port))) return port;
  }
  throw new Error(`no free port on 127.0.0.1 from ${FIRST_PRIVATE} to ${LAST_PRIVATE}`);
}

/** Says why nobody can listen on the port on all addresses, naming the setting that chose it; undefined when one can. */
export async function faultOfPublicPort(variable: string, port: number): Promise<string | undefined> {
  for (const host of ['0.0.0.0', '::']) {
    const bound = await tryBind(host, port);
    if (bound === undefined || 'port' in bound) continue;
    const where = `${variable}=${port}: port ${port}`;
    if (bound.code === 'EADDRINUSE') {
      return `${where} is taken by another program (on ${host}); stop that one, or set ${variable} to a free port`;
    }
    if (bound.code === 'EACCES') return `${where} needs the right to bind it; run as root, or set ${variable} to 1024 or more`;
    return `${where} cannot be bound on ${host}: ${bound.code}`;
  }
  return undefined;
}
