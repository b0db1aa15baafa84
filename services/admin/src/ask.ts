import { type Bus, type CommandReply, type CommandRequest, errorOfRefusal, type SharedCommand } from '@culvert/bus';
import { CulvertError } from '@culvert/contracts';

export type Granted<N extends SharedCommand> = Extract<CommandReply<N>, { ok: true }>;
export type Ask = <N extends SharedCommand>(command: N, payload: CommandRequest<N>, timeoutMs?: number) => Promise<Granted<N>>;

/** Asks a lease-manager; its refusal becomes the answer's problem document. */
export function askManager(bus: Pick<Bus, 'request'>): Ask {
  return async <N extends SharedCommand>(command: N, payload: CommandRequest<N>, timeoutMs?: number): Promise<Granted<N>> => {
    let reply: CommandReply<N>;
    try {
      reply = await bus.request(command, payload, timeoutMs === undefined ? {} : { timeoutMs });
    } catch (cause) {
      // Thrown by the bus itself it means that no lease-manager answers, not that the device does not exist.
      if (cause instanceof CulvertError && cause.code !== 'internal') {
        throw new CulvertError('unavailable', 'no lease-manager answers', { cause });
      }
      throw cause;
    }
    if (!reply.ok) throw errorOfRefusal(reply as Extract<CommandReply<N>, { ok: false }>);
    return reply as Granted<N>;
  };
}
