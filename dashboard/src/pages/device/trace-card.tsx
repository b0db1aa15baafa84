import { useMutation } from '@tanstack/react-query';
import { get } from '../../api/client.ts';
import type { Trace, TraceStep } from '../../api/types.ts';
import { Icon } from '../../ui/icons.tsx';
import { Failure } from '../../ui/states.tsx';
import { Ago } from '../../ui/time.tsx';

/** Follows the way of a visitor and says where it ends. */
export function TraceCard({ name }: { name: string }) {
  const trace = useMutation({ mutationFn: () => get<Trace>(`/v1/devices/${name}/trace`) });
  return (
    <section className="card" aria-labelledby="trace-title">
      <div className="card-head">
        <h2 id="trace-title">Can it be reached?</h2>
        <button type="button" className="button" onClick={() => trace.mutate()} disabled={trace.isPending}>
          <Icon name="route" /> {trace.isPending ? 'Tracing …' : trace.data === undefined ? 'Trace' : 'Trace again'}
        </button>
      </div>
      <div aria-live="polite">
        {trace.isError ? <Failure error={trace.error} /> : trace.data === undefined ? null : <Found trace={trace.data} />}
        {trace.isIdle ? <p className="muted">Dials the device as a visitor would, step by step.</p> : null}
      </div>
    </section>
  );
}

function Found({ trace }: { trace: Trace }) {
  const { ok, failure, ms, at, endpoints, steps } = trace;
  return (
    <>
      <p className={`verdict ${ok ? 'ok' : 'bad'}`} data-testid="verdict">
        <Icon name={ok ? 'check' : 'cross'} />
        <span>{ok ? `Every endpoint can be reached (${ms} ms).` : (failure?.detail ?? 'It cannot be reached.')}</span>
        <small className="muted">
          <Ago at={at} />
        </small>
      </p>
      {endpoints.length === 0 ? <Steps steps={steps} /> : null}
      {endpoints.map((endpoint, index) => (
        <details key={endpoint.port} open={!endpoint.ok || index === 0}>
          <summary>
            <Icon name={endpoint.ok ? 'check' : 'cross'} /> {endpoint.address}
          </summary>
          <Steps steps={endpoint.steps} />
        </details>
      ))}
    </>
  );
}

function Steps({ steps }: { steps: TraceStep[] }) {
  return (
    <ol className="steps">
      {steps.map(({ step, status, ms, detail }) => (
        <li key={step} className={status}>
          <Icon name={status === 'ok' ? 'check' : status === 'failed' ? 'cross' : 'skip'} />
          <b>{step}</b>
          <span className="muted">{detail}</span>
          <small>{ms === null ? '' : `${ms} ms`}</small>
        </li>
      ))}
    </ol>
  );
}
