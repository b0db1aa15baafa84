import { type Agent, type AgentEndpoint, formatTarget, type Mapping } from '@culvert/agent';

/** Prints an agent's events: one JSON object a line, or lines for people. */
export function printEvents(agent: Agent, name: string, mappings: readonly Mapping[], json: boolean): void {
  if (json) printJson(agent, name);
  else printText(agent, name, mappings);
}

function printJson(agent: Agent, name: string): void {
  const line = (event: string, fields: object): void =>
    out(JSON.stringify({ event, time: new Date().toISOString(), name, ...fields }));
  agent.on('connecting', ({ server }) => line('connecting', { server }));
  agent.on('endpoint', (endpoint) => line('endpoint', fieldsOf(endpoint)));
  agent.on('ready', ({ epoch, resumed, graceMs, heartbeatMs, endpoints }) => {
    line('ready', { epoch, resumed, endpoints: endpoints.map(fieldsOf), grace_ms: graceMs, heartbeat_ms: heartbeatMs });
  });
  agent.on('disconnected', ({ code, message, retryInMs }) => line('disconnected', { code, message, retry_in_ms: retryInMs }));
  agent.on('refused', ({ code, message, status, retryInMs }) => {
    line('refused', { code, message, status, retry_in_ms: retryInMs });
  });
  agent.on('transfer', ({ id, port, outcome, toDevice, toVisitor }) => {
    const at = Date.now();
    const fields = { id, port, outcome, to_device: toDevice, to_visitor: toVisitor };
    outSoon(() => JSON.stringify({ event: 'transfer', time: new Date(at).toISOString(), name, ...fields }));
  });
  agent.on('stopped', () => line('stopped', {}));
}

function printText(agent: Agent, name: string, mappings: readonly Mapping[]): void {
  agent.on('connecting', ({ server }) => out(`connecting to ${server}`));
  agent.on('ready', ({ resumed, endpoints }) => {
    out(`${name} is reachable${resumed ? ' again, as before' : ''}:`);
    for (const endpoint of endpoints) {
      const mapping = mappings.find(({ port }) => port === endpoint.port);
      out(`  ${publicAddress(endpoint)}  ->  ${mapping === undefined ? '' : formatTarget(mapping.target)}`);
    }
  });
  agent.on('refused', ({ code, message, retryInMs }) => err(`refused: ${message} (${code}); next try in ${seconds(retryInMs)}`));
  agent.on('disconnected', ({ code, message, retryInMs }) => {
    err(`not connected: ${message} (${code}); next try in ${seconds(retryInMs)}`);
  });
  agent.on('transfer', ({ port, outcome, toDevice, toVisitor }) => {
    if (outcome !== 'ok') err(`a visitor of port ${port} ended as ${outcome} (${toDevice} bytes in, ${toVisitor} out)`);
  });
  agent.on('stopped', () => out('stopped'));
}

function fieldsOf(endpoint: AgentEndpoint): object {
  const { port, scheme } = endpoint;
  return endpoint.scheme === 'tcp'
    ? { port, scheme, host: endpoint.host, public_port: endpoint.publicPort }
    : { port, scheme, url: endpoint.url };
}

function publicAddress(endpoint: AgentEndpoint): string {
  if (endpoint.scheme !== 'tcp') return endpoint.url;
  return formatTarget({ host: endpoint.host, port: endpoint.publicPort });
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(ms < 9_950 ? 1 : 0)} s`;
}

/** Lines of transfers may be this late: many visitors then share a write, and none of them waits for its line to be made. */
const GATHER_MS = 50;
let gathered: (() => string)[] = [];
let timer: NodeJS.Timeout | undefined;

function outSoon(line: () => string): void {
  if (timer === undefined) {
    timer = setTimeout(flush, GATHER_MS);
    process.once('exit', flush);
  }
  gathered.push(line);
}

function flush(): void {
  if (timer === undefined) return;
  clearTimeout(timer);
  timer = undefined;
  process.off('exit', flush);
  const lines = gathered;
  gathered = [];
  process.stdout.write(lines.map((line) => `${line()}\n`).join(''));
}

function out(text: string): void {
  flush();
  process.stdout.write(`${text}\n`);
}

function err(text: string): void {
  process.stderr.write(`${text}\n`);
}
