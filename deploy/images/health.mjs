// HEALTHCHECK of the images: `health.mjs PATH` ends with 0 when the health server of this container answers 200 there.
import process from 'node:process';
import { ownAddressIn } from '../../libs/service-kit/src/own-address.ts';

const said = process.env.CULVERT_HEALTH_HOST || '127.0.0.1';
const host = ownAddressIn(said) ?? said;
const url = `http://${host.includes(':') ? `[${host}]` : host}:${process.env.CULVERT_HEALTH_PORT}${process.argv[2] ?? '/healthz'}`;
try {
  const answer = await fetch(url, { signal: AbortSignal.timeout(4_000) });
  console.log(await answer.text());
  process.exitCode = answer.ok ? 0 : 1;
} catch (error) {
  console.log(`${url}: ${error.cause?.code ?? error.message}`);
  process.exitCode = 1;
}
