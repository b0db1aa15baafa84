/**
 * The demo device's local targets: a web page, and an echo of any bytes. Ports come as arguments; it ends with the stack.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { pipeline } from 'node:stream';

const page = readFileSync(new URL('./page.html', import.meta.url));
const [httpPort, echoPort] = process.argv.slice(2).map(Number);

const web = createServer((request, response) => {
  const found = request.url === '/' || request.url === '/index.html';
  response.writeHead(found ? 200 : 404, { 'content-type': found ? 'text/html; charset=utf-8' : 'text/plain; charset=utf-8' });
  response.end(found ? page : `The demo device has no ${request.url}\n`);
});
// allowHalfOpen: who sends END still gets the rest of the echo.
const echo = createTcpServer({ allowHalfOpen: true }, (socket) => pipeline(socket, socket, () => {}));

process.once('SIGTERM', () => process.exit(0));
process.once('disconnect', () => process.exit(0));
await Promise.all([
  new Promise<void>((resolve) => web.listen(httpPort, '127.0.0.1', resolve)),
  new Promise<void>((resolve) => echo.listen(echoPort, '127.0.0.1', resolve)),
]);
process.send?.({ ready: true });
