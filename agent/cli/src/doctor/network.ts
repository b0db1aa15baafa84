import { randomBytes } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import { type IncomingMessage, request as plainRequest } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { connect, isIP, type Socket } from 'node:net';
import tls from 'node:tls';
import { textOf } from '../exit.ts';
import { type Finding, failed, ok, unknown, warning } from './check.ts';

const ANSWER_MS = 10_000;
const SOON_DAYS = 14;
const SKEW_WARNING_MS = 5_000;
const SKEW_FAILED_MS = 60_000;

/** Addresses of a name; empty when it has none. */
async function addressesOf(host: string): Promise<string[]> {
  if (isIP(host) !== 0) return [host];
  try {
    return (await lookup(host, { all: true })).map(({ address }) => address).sort();
  } catch {
    return [];
  }
}

export async function resolves(host: string, what: string): Promise<Finding> {
  const addresses = await addressesOf(host);
  if (addresses.length > 0) return ok('dns', what, `${host} is ${addresses.join(', ')}`);
  return failed('dns', what, `${host} has no address`, `make an A or AAAA record for ${host}, or mend this machine's resolver`);
}

/** Every name under the domain has to lead to the edge: one that nobody can have asked for before is tried. */
export async function wildcard(domain: string): Promise<Finding> {
  const name = `doctor-${randomBytes(4).toString('hex')}.${domain}`;
  const [own, any] = await Promise.all([addressesOf(domain), addressesOf(name)]);
  const record = `make a wildcard record: *.${domain}. A <address of the edge> (and AAAA)`;
  if (any.length === 0 && domain.endsWith('.localhost')) {
    // Browsers and curl resolve these names by themselves.
    return warning(
      'dns',
      'wildcard',
      `${name} has no address here`,
      'browsers and curl know such names without DNS; other programs do not',
    );
  }
  if (any.length === 0) return failed('dns', 'wildcard', `${name} has no address`, record);
  if (own.length > 0 && !any.some((address) => own.includes(address))) {
    return warning(
      'dns',
      'wildcard',
      `${name} is ${any.join(', ')}, ${domain} is ${own.join(', ')}`,
      `if that is not meant so, ${record}`,
    );
  }
  return ok('dns', 'wildcard', `*.${domain} is ${any.join(', ')}`);
}

/** Does a TCP connection come about? */
export async function reachable(host: string, port: number): Promise<Finding> {
  const from = performance.now();
  const fault = await new Promise<string>((resolve) => {
    const socket: Socket = connect({ host, port, autoSelectFamily: true });
    const settle = (text: string): void => {
      socket.destroy();
      resolve(text);
    };
    socket.setTimeout(ANSWER_MS, () => settle(`no answer in ${ANSWER_MS / 1000} s`));
    socket.once('connect', () => settle(''));
    socket.once('error', (error) => settle(textOf(error)));
  });
  if (fault === '') return ok('server', 'tcp', `${host}:${port} after ${Math.round(performance.now() - from)} ms`);
  const advice = 'look whether the server runs and whether a firewall lets this port out; behind a proxy set HTTPS_PROXY';
  return failed('server', 'tcp', `${host}:${port}: ${fault}`, advice);
}

/** The certificate as a device would judge it, and how long it is good. */
export async function certificate(host: string, port: number, caFile: string | undefined): Promise<Finding> {
  const ca = caFile === undefined ? {} : { ca: [...tls.rootCertificates, readFileSync(caFile, 'utf8')] };
  return new Promise((resolve) => {
    const servername = isIP(host) === 0 ? { servername: host } : {};
    const socket = tls.connect({ host, port, rejectUnauthorized: false, ...servername, ...ca });
    const settle = (finding: Finding): void => {
      socket.destroy();
      resolve(finding);
    };
    socket.setTimeout(ANSWER_MS, () =>
      settle(failed('tls', 'certificate', `no answer in ${ANSWER_MS / 1000} s`, 'is this an https port?')),
    );
    socket.once('error', (error) => settle(failed('tls', 'certificate', textOf(error), 'is this an https port?')));
    socket.once('secureConnect', () => {
      const { valid_to: until, issuer, subject } = socket.getPeerCertificate();
      const days = Math.floor((Date.parse(until) - Date.now()) / 86_400_000);
      const name = issuer?.O ?? issuer?.CN ?? subject?.CN ?? 'nobody';
      const about = `of ${name}, until ${until} (${days} days), ${socket.getProtocol()}`;
      if (days < 0) return settle(failed('tls', 'certificate', about, 'it has expired: renew it'));
      if (!socket.authorized) {
        const why = String(socket.authorizationError);
        const own =
          'give the authority with --ca-file (CULVERT_CA_FILE) if it is your own; else renew the certificate for this name';
        return settle(failed('tls', 'certificate', `${about}: ${why}`, own));
      }
      if (days < SOON_DAYS) return settle(warning('tls', 'certificate', about, 'it expires soon: renew it'));
      settle(ok('tls', 'certificate', about));
    });
  });
}

interface Answer {
  status: number;
  headers: IncomingMessage['headers'];
  at: number;
}

/** The server's answer to a handshake without a token: that it is refused shows that it gets there, and back. */
export async function handshake(server: URL, caFile: string | undefined): Promise<Finding[]> {
  let answer: Answer;
  try {
    answer = await ask(new URL('/v1/control?name=doctor&ports=80', server), caFile, UPGRADE);
  } catch (error) {
    return [failed('server', 'websocket', textOf(error), 'something between here and the server may not let WebSockets pass')];
  }
  const { status } = answer;
  const found =
    status === 401
      ? ok('server', 'websocket', 'a handshake gets through to the server')
      : status === 429 || status === 503
        ? warning('server', 'websocket', `the server answers ${status}`, 'it is there, and busy or starting: try again')
        : failed(
            'server',
            'websocket',
            `the answer is ${status}; expected 401`,
            'is this a Culvert server? A proxy may answer in its place',
          );
  // Refused handshakes need not tell the time; every other answer does.
  const plain = await ask(new URL('/', server), caFile, {}).catch(() => answer);
  return [found, clockOf('against the server', plain)];
}

/** By the Date of its answer, which is whole seconds. */
export function clockOf(what: string, { headers, at }: { headers: { date?: string | undefined }; at: number }): Finding {
  const theirs = Date.parse(headers.date ?? '');
  if (Number.isNaN(theirs)) return unknown('clock', what, 'the server does not tell its time');
  const skew = at - theirs - 500;
  const about = `${(Math.abs(skew) / 1000).toFixed(1)} s ${skew > 0 ? 'ahead of' : 'behind'} the server`;
  const advice = 'set the clock (NTP): certificates and expiries are judged by it';
  if (Math.abs(skew) > SKEW_FAILED_MS) return failed('clock', what, about, advice);
  if (Math.abs(skew) > SKEW_WARNING_MS) return warning('clock', what, about, advice);
  return ok('clock', what, about);
}

const UPGRADE = {
  ...{ connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-protocol': 'culvert.v1' },
};

function ask(url: URL, caFile: string | undefined, headers: Record<string, string>): Promise<Answer> {
  const secure = url.protocol === 'https:';
  return new Promise((resolve, reject) => {
    const asking = (secure ? tlsRequest : plainRequest)(url, {
      agent: false,
      rejectUnauthorized: false, // the certificate is judged by itself; here only the way is looked at
      ...(caFile === undefined ? {} : { ca: readFileSync(caFile) }),
      headers: { ...headers, ...('upgrade' in headers ? { 'sec-websocket-key': randomBytes(16).toString('base64') } : {}) },
    });
    asking.setTimeout(ANSWER_MS, () => asking.destroy(new Error(`no answer in ${ANSWER_MS / 1000} s`)));
    asking.once('error', reject);
    asking.once('response', (response) => {
      response.resume();
      resolve({ status: response.statusCode ?? 0, headers: response.headers, at: Date.now() });
    });
    asking.once('upgrade', (response, socket) => {
      socket.destroy();
      resolve({ status: response.statusCode ?? 0, headers: response.headers, at: Date.now() });
    });
    asking.end();
  });
}
