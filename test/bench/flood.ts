/** `flood.ts <port> <ms>`: a visitor in a process of its own, who downloads without a pause; says when bytes flow, then how many MB/s it got. */
import { download } from './visitor.ts';

const [port, ms] = process.argv.slice(2).map(Number) as [number, number];
let at = 0;
const bytes = await download(port, 1e12, () => {
  if (at === 0) {
    at = performance.now();
    process.send?.('flows');
  }
  return performance.now() - at < ms;
});
process.send?.(bytes / 1e3 / (performance.now() - at));
process.disconnect();
