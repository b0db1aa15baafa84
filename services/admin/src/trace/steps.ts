import { SchemeName } from '@culvert/bus';
import Type from 'typebox';

/** In the order in which a visitor passes them. `edge` and `route` are for http and https endpoints only. */
export const STEPS = ['edge', 'route', 'lease', 'listener', 'port', 'ingress', 'control', 'dial', 'target'] as const;
export type StepName = (typeof STEPS)[number];

const Step = Type.Object({
  step: Type.Enum(STEPS),
  status: Type.Enum(['ok', 'failed', 'skipped'], { description: 'skipped: it cannot be tried, since another step failed' }),
  ms: Type.Union([Type.Integer(), Type.Null()], { description: 'How long it took; null when it was not tried' }),
  code: Type.String({ description: '`ok`, or what is wrong, for programs' }),
  detail: Type.String({ description: 'The same for people, with what to do' }),
});
export type Step = Type.Static<typeof Step>;

const Failure = Type.Union([Step, Type.Null()], { description: 'The first step that failed; null when a visitor gets through' });

/** What a trace has found. */
export const Trace = Type.Object(
  {
    device: Type.String(),
    ok: Type.Boolean({ description: 'Every endpoint can be reached' }),
    at: Type.Integer({ description: 'Milliseconds since 1970' }),
    ms: Type.Integer(),
    failure: Failure,
    endpoints: Type.Array(
      Type.Object({
        port: Type.Integer({ description: "The device's own number" }),
        scheme: SchemeName,
        address: Type.String({ description: 'Where visitors come' }),
        ok: Type.Boolean(),
        failure: Failure,
        steps: Type.Array(Step),
      }),
    ),
    steps: Type.Array(Step, { description: 'Those that all endpoints share' }),
  },
  { $id: 'Trace' },
);
export type Trace = Type.Static<typeof Trace>;

export const ok = (step: StepName, ms: number, detail: string): Step => ({
  ...{ step, status: 'ok' as const, ms: Math.round(ms), code: 'ok', detail },
});
export const failed = (step: StepName, ms: number, code: string, detail: string): Step => ({
  ...{ step, status: 'failed' as const, ms: Math.round(ms), code, detail },
});
export const skipped = (step: StepName, why: string): Step => ({
  ...{ step, status: 'skipped' as const, ms: null, code: 'skipped', detail: why },
});

/** The first in the order of the way that failed. */
export function firstFailure(steps: readonly Step[]): Step | null {
  return steps.find(({ status }) => status === 'failed') ?? null;
}
