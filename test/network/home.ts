import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { findProgram } from '../../deploy/local/bin/system.mjs';
import { freeNetwork, linkOf, Namespace, run } from './namespaces.ts';

const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const FIRST_LINE_MS = 10_000;

export interface HomeOptions {
  /** Added to a packet's way, in each direction; 0 = a plain link. */
  oneWayMs?: number;
  /** Percent of packets lost in each direction. */
  lossPercent?: number;
}

/**
 * A device's home: the device behind a router that hides it (NAT), connected to this machine's own namespace.
 *
 *   device 192.168.77.2 -- [delay] -- 192.168.77.1 router 10.213.N.2 ---- 10.213.N.1 this machine
 */
export class Home {
  readonly device: Namespace;
  readonly router: Namespace;
  /** Where this machine is reached from the device. */
  readonly server: string;
  /** Local targets of the device: ports on its loopback. */
  web = 0;
  echo = 0;
  readonly #children: ChildProcess[] = [];

  private constructor(network: number) {
    this.device = new Namespace(network, 'device');
    this.router = new Namespace(network, 'router');
    this.server = `10.213.${network}.1`;
  }

  static async start({ oneWayMs = 0, lossPercent = 0 }: HomeOptions = {}): Promise<Home> {
    const network = freeNetwork();
    const home = new Home(network);
    try {
      await home.#lay(network, oneWayMs);
      home.#rule(lossPercent);
      await home.#targets();
      return home;
    } catch (error) {
      home.stop();
      throw error;
    }
  }

  async #lay(network: number, oneWayMs: number): Promise<void> {
    const { device, router, server } = this;
    const outside = linkOf(network);
    run('ip', ['link', 'add', outside, 'type', 'veth', 'peer', 'name', 'wan', 'netns', router.name]);
    run('ip', ['addr', 'add', `${server}/30`, 'dev', outside]);
    run('ip', ['link', 'set', outside, 'up']);
    router.ip('addr', 'add', `10.213.${network}.2/30`, 'dev', 'wan');
    router.ip('link', 'set', 'wan', 'up');
    if (oneWayMs === 0) router.ip('link', 'add', 'lan', 'type', 'veth', 'peer', 'name', 'eth', 'netns', device.name);
    else await this.#delayed(oneWayMs);
    router.ip('addr', 'add', '192.168.77.1/24', 'dev', 'lan');
    device.ip('addr', 'add', '192.168.77.2/24', 'dev', 'eth');
    router.ip('link', 'set', 'lan', 'up');
    device.ip('link', 'set', 'eth', 'up');
    device.ip('route', 'add', 'default', 'via', '192.168.77.1');
    router.exec('sysctl', ['-q', '-w', 'net.ipv4.ip_forward=1']);
    // A router that has forgotten a connection does not take it up again in the middle.
    router.exec('sysctl', ['-q', '-w', 'net.netfilter.nf_conntrack_tcp_loose=0']);
  }

  async #delayed(oneWayMs: number): Promise<void> {
    const args = [file('delay.py'), this.router.name, 'lan', this.device.name, 'eth', String(oneWayMs)];
    const child = spawn(findProgram('python3') ?? 'python3', args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#children.push(child);
    await firstLine(child);
  }

  #rule(lossPercent: number): void {
    const { router } = this;
    router.nft('add table ip home');
    router.nft('add chain ip home out { type nat hook postrouting priority 100 ; }');
    router.nft('add rule ip home out oifname "wan" masquerade');
    router.nft('add chain ip home pass { type filter hook forward priority 0 ; }');
    router.nft('add chain ip home fault');
    router.nft('add rule ip home pass jump fault');
    router.nft('add rule ip home pass ct state invalid drop');
    // What nobody behind it expects is dropped without a word, as home routers do.
    router.nft('add chain ip home self { type filter hook input priority 0 ; }');
    router.nft('add rule ip home self meta l4proto tcp drop');
    if (lossPercent > 0) router.nft(`add rule ip home pass numgen random mod 100 < ${lossPercent} drop`);
  }

  async #targets(): Promise<void> {
    const child = this.device.spawn(process.execPath, [file('device-targets.ts')], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#children.push(child);
    const { web, echo } = JSON.parse(await firstLine(child)) as { web: number; echo: number };
    this.web = web;
    this.echo = echo;
  }

  /** From now on every packet is lost, in both directions and without a word. */
  cut(): void {
    this.router.nft('add rule ip home fault drop');
  }

  /** Packets of all connections that the device has now are lost; new connections work. */
  silencePresentConnections(): void {
    const ports = [...this.device.exec('ss', ['-Htn']).matchAll(/192\.168\.77\.2:([0-9]+) +10\.213/g)].map((match) => match[1]);
    if (ports.length === 0) throw new Error('the device has no connection');
    for (const direction of ['sport', 'dport'])
      this.router.nft(`add rule ip home fault tcp ${direction} { ${ports.join(', ')} } drop`);
  }

  /** Ends `cut` and `silencePresentConnections`. */
  restore(): void {
    this.router.nft('flush chain ip home fault');
  }

  /** The router restarts, or runs out of memory: it knows none of the connections any more. */
  forgetConnections(): void {
    this.router.exec('conntrack', ['-F']);
  }

  stop(): void {
    for (const child of this.#children) child.kill('SIGKILL');
    this.device.remove();
    this.router.remove(); // the link to this machine goes with it
  }
}

async function firstLine(child: ChildProcess): Promise<string> {
  const { stdout } = child;
  if (stdout === null) throw new Error('its output is not ours');
  const late = AbortSignal.timeout(FIRST_LINE_MS);
  let text = '';
  while (!text.includes('\n')) {
    const [chunk] = (await Promise.race([
      once(stdout, 'data', { signal: late }),
      once(child, 'exit', { signal: late }).then(([code]) => {
        throw new Error(`${child.spawnargs.join(' ')} exited with ${code}`);
      }),
    ])) as [Buffer];
    text += chunk.toString();
  }
  return text.slice(0, text.indexOf('\n'));
}
