import net from 'node:net';
import { CulvertError, DEFAULT_LIMITS } from '@culvert/contracts';

/**
 * A TCP connection to host:port through an HTTP proxy (CONNECT). Credentials of the proxy's URL go to the proxy only.
 *
 * @throws CulvertError `unavailable` that names the proxy; the reason of the signal when that is aborted.
 */
export function openTunnel(proxy: URL, host: string, port: number, signal: AbortSignal): Promise<net.Socket> {
  const where = `the proxy ${proxy.host}`;
  const proxyHost = proxy.hostname.replace(/^\[|\]$/g, '');
  const proxyPort = proxy.port === '' ? 80 : Number(proxy.port);
  const socket = net.connect({ host: proxyHost, port: proxyPort, allowHalfOpen: true, noDelay: true, autoSelectFamily: true });
  const { promise, resolve, reject } = Promise.withResolvers<net.Socket>();
  let answer = Buffer.alloc(0);

  const fail = (err: unknown): void => {
    socket.destroy();
    reject(err);
  };
  const onAbort = (): void => fail(signal.reason);
  const onConnect = (): void => {
    const authority = `${host.includes(':') ? `[${host}]` : host}:${port}`;
    socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${credentials(proxy)}\r\n`);
  };
  const onReadable = (): void => {
    answer = Buffer.concat([answer, (socket.read() as Buffer | null) ?? Buffer.alloc(0)]);
    const end = answer.indexOf('\r\n\r\n');
    if (end < 0 && answer.length <= DEFAULT_LIMITS.HANDSHAKE_BYTES) return;
    const fault = faultOf(end < 0 ? '' : answer.toString('latin1', 0, 64));
    if (fault !== undefined) {
      fail(new CulvertError('unavailable', `${where} ${fault}`));
      return;
    }
    socket.off('readable', onReadable);
    if (answer.length > end + 4) socket.unshift(answer.subarray(end + 4));
    resolve(socket);
  };
  const onEnd = (): void => fail(new CulvertError('unavailable', `${where} closed the connection during CONNECT`));
  const onError = (err: Error): void => fail(new CulvertError('unavailable', `${where} cannot be reached`, { cause: err }));

  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  socket.once('connect', onConnect).on('readable', onReadable).once('end', onEnd).on('error', onError);
  return promise.finally(() => {
    signal.removeEventListener('abort', onAbort);
    socket.off('readable', onReadable).off('end', onEnd);
  });
}

/** What is wrong with the beginning of the proxy's answer; undefined when it agrees. */
function faultOf(answer: string): string | undefined {
  const status = /^HTTP\/1\.[01] ([0-9]{3})/.exec(answer)?.[1];
  if (status === undefined) return 'does not answer as an HTTP proxy';
  if (status.startsWith('2')) return undefined;
  const hint = status === '407' ? '; it wants credentials: http://user:password@host:port' : '';
  return `answered ${status} to CONNECT${hint}`;
}

function credentials(proxy: URL): string {
  if (proxy.username === '' && proxy.password === '') return '';
  const login = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  return `Proxy-Authorization: Basic ${Buffer.from(login).toString('base64')}\r\n`;
}
