/** The local targets of a device in its own network namespace. Prints their ports, and ends with its standard input. */
import { echo, startTcpTarget, startWebTarget } from '../harness/targets.ts';

const web = await startWebTarget();
const tcp = await startTcpTarget(echo);
console.log(JSON.stringify({ web: web.port, echo: tcp.port }));
process.stdin.resume().on('end', () => process.exit(0));
