/** A consumer as somebody would write one: prints the id of each event, and dies in the middle of the one that it is told to. */
import { connectEvents } from '../src/index.ts';

const [url = '', durable = '', dieAt = '0'] = process.argv.slice(2);
const events = await connectEvents(url);
let count = 0;
for await (const event of events.consume({ durable, types: ['device.*', 'lease.*'], ackWaitMs: 1_000 })) {
  count += 1;
  if (count === Number(dieAt)) process.kill(process.pid, 'SIGKILL');
  process.stdout.write(`${event.id} ${event.type}\n`);
}
