import { type Bus, type CommandReply, errorOfRefusal } from '@culvert/bus';
import { CulvertError, EVENTS_SUBJECTS, faultOfDeviceName, type Limits, parseDuration } from '@culvert/contracts';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import type { RunningUses } from './access/running.ts';
import { DeviceView, type PublicSide, viewOf } from './device-view.ts';
import { problems } from './problem.ts';

export interface WaitRoutesOptions {
  bus: Pick<Bus, 'request' | 'nc'>;
  running: RunningUses;
  side: PublicSide;
  limits: Pick<Limits, 'WAITS' | 'WAIT_MS'>;
}

type Shown = Extract<CommandReply<'device.show'>, { ok: true }>;
const GOALS = ['online', 'offline'] as const;
/** Events wake a wait at once. Should one be lost, the registry is asked anyway as often as this. */
const LOOK_MS = 5_000;

/** `/v1/devices/:name/wait`: answers when the device is there, or gone. */
export const waitRoutes: FastifyPluginAsyncTypebox<WaitRoutesOptions> = async (app, { bus, running, side, limits }) => {
  const ends = new Set<() => void>();
  app.addHook('preClose', async () => {
    for (const end of ends) end();
  });

  const show = async (device: string): Promise<Shown> => {
    const reply = await bus.request('device.show', { device }).catch((cause: unknown) => {
      throw new CulvertError('unavailable', 'no lease-manager answers', { cause });
    });
    if (!reply.ok) throw errorOfRefusal(reply);
    return reply;
  };

  app.post(
    '/v1/devices/:name/wait',
    {
      config: { role: 'viewer', audit: false }, // it changes nothing, and is asked often
      schema: {
        summary: 'Wait until a device is connected, or is not',
        params: Type.Object({ name: Type.String() }),
        querystring: Type.Object({
          for: Type.Optional(
            Type.Enum(GOALS, { default: 'online', description: 'online: it is connected; offline: it is not, in grace or gone' }),
          ),
          timeout: Type.Optional(Type.String({ maxLength: 16, default: '60s', description: 'Such as 30s or 5m' })),
        }),
        response: {
          200: Type.Object({
            reached: Type.Boolean({ description: 'false: the time was over before' }),
            waited_ms: Type.Integer(),
            device: DeviceView,
          }),
          ...problems(400, 404, 429),
        },
      },
    },
    async (request) => {
      const { name } = request.params;
      const fault = faultOfDeviceName(name);
      if (fault !== undefined) throw new CulvertError('bad_request', fault);
      const { for: goal = 'online', timeout = '60s' } = request.query;
      const ms = parseDuration(timeout);
      if (ms === undefined || ms > limits.WAIT_MS) {
        throw new CulvertError(
          'bad_request',
          `timeout is ${JSON.stringify(timeout)}; expected such as 60s, at most ${limits.WAIT_MS / 1000}s`,
        );
      }
      if (ends.size >= limits.WAITS) {
        throw new CulvertError('rate_limited', `${limits.WAITS} calls wait here already`, { retryAfterMs: 5_000 });
      }
      const from = performance.now();
      const until = from + ms;
      let stopped: CulvertError | undefined;
      let wake: () => void = () => {};
      const stop = (error: CulvertError): void => {
        stopped = error;
        wake();
      };
      const end = (): void => stop(new CulvertError('unavailable', 'this instance stops; ask again'));
      const over =
        request.operator === null
          ? () => {}
          : running.add(request.operator, 'viewer', () => stop(new CulvertError('unauthorized')));
      ends.add(end);
      const onClosed = (): void => stop(new CulvertError('unavailable', 'nobody waits for the answer any more'));
      request.raw.socket.once('close', onClosed);
      let news = false;
      const subscriptions = EVENTS_SUBJECTS.filter((subject) => /^(?:device|lease)\./.test(subject)).map((subject) =>
        bus.nc.subscribe(subject.replace(/\*$/, name), {
          callback: () => {
            news = true;
            wake();
          },
        }),
      );
      try {
        for (;;) {
          news = false;
          const { device, lease } = await show(name);
          const reached = (lease?.state === 'held') === (goal === 'online');
          const now = performance.now();
          if (reached || now >= until) {
            return { reached, waited_ms: Math.round(now - from), device: viewOf(device, lease, side) };
          }
          await new Promise<void>((resolve) => {
            const timer = setTimeout(resolve, Math.min(LOOK_MS, until - now));
            wake = () => {
              clearTimeout(timer);
              resolve();
            };
            if (news || stopped !== undefined) wake();
          });
          if (stopped !== undefined) throw stopped;
        }
      } finally {
        over();
        ends.delete(end);
        request.raw.socket.off('close', onClosed);
        for (const subscription of subscriptions) subscription.unsubscribe();
      }
    },
  );
};
