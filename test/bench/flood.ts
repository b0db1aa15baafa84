/** `flood.ts <port> <ms>`: a visitor in a process of its own, who downloads without a pause; says how many MB/s it got. */
import { download } from './visitor.ts';

const [port, ms] = process.argv.slice(2).map(Number) as [number, number];
const at = performance.now();
const bytes = await download(port, 1e12, () => performance.now() - at < ms);
process.send?.(bytes / 1e3 / (performance.now() - at));
process.disconnect();
