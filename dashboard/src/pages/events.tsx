import { Link } from '@tanstack/react-router';
import { memo, useEffect, useMemo, useState } from 'react';
import { type Tail, type TailEvent, useTail } from '../api/tail.ts';
import { Icon } from '../ui/icons.tsx';
import { Empty } from '../ui/states.tsx';
import { Clock } from '../ui/time.tsx';

const GROUPS: readonly [group: string, name: string][] = [
  ['device', 'Devices'],
  ['lease', 'Leases'],
  ['conn', 'TCP visitors'],
  ['visitor', 'Requests'],
  ['other', 'System'],
];
const SHOWN = 200;

/** What happens now, as it happens. */
export function EventsPage() {
  const tail = useTail();
  const [text, setText] = useState('');
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const { paused, setPaused } = tail;

  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      const typing = event.target instanceof HTMLElement && /^(?:INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
      if (event.key === 'p' && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) setPaused(!paused);
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, [paused, setPaused]);

  const found = useMemo(() => {
    const wanted = text.toLowerCase().split(/\s+/).filter(Boolean);
    return tail.events.filter(({ group, text: its }) => !hidden.has(group) && wanted.every((word) => its.includes(word)));
  }, [tail.events, text, hidden]);
  const toggle = (group: string): void => {
    const next = new Set(hidden);
    if (!next.delete(group)) next.add(group);
    setHidden(next);
  };

  return (
    <div className="page">
      <div className="page-head">
        <h1>Events</h1>
        <TailState tail={tail} />
      </div>
      <section className="card list-card" aria-label="Live events">
        <div className="card-head tools">
          <fieldset className="chips">
            <legend className="only-read">Kinds of events that are shown</legend>
            {GROUPS.map(([group, name]) => (
              <button
                key={group}
                type="button"
                aria-pressed={!hidden.has(group)}
                onClick={() => toggle(group)}
                className={`chip ${group}`}
              >
                {name}
              </button>
            ))}
          </fieldset>
          <label className="search">
            <Icon name="search" />
            <span className="only-read">Filter events</span>
            <input
              type="search"
              value={text}
              onChange={(event) => setText(event.target.value)}
              placeholder="Device, type, reason, address"
              autoComplete="off"
              spellCheck={false}
            />
          </label>
          <button type="button" className="button" aria-pressed={paused} onClick={() => setPaused(!paused)}>
            <Icon name={paused ? 'play' : 'pause'} /> {paused ? `Go on${tail.held === 0 ? '' : ` (${tail.held} new)`}` : 'Pause'}
          </button>
          <button type="button" className="button" onClick={tail.clear}>
            Clear
          </button>
        </div>
        {found.length === 0 ? (
          <Empty title={tail.events.length === 0 ? 'Nothing has happened since you came' : 'No event fits'}>
            {tail.events.length === 0 ? 'Events appear here the moment they happen.' : null}
          </Empty>
        ) : (
          <ol className="tail">
            {found.slice(0, SHOWN).map((event) => (
              <Row key={event.key} event={event} />
            ))}
          </ol>
        )}
      </section>
    </div>
  );
}

function TailState({ tail: { paused, dropped } }: { tail: Tail }) {
  return (
    <span className="muted" role="status">
      {paused ? 'Paused' : 'Live tail'}
      {dropped === 0 ? '' : `; ${dropped} older ones are no longer kept here`}
    </span>
  );
}

const Row = memo(function Row({ event }: { event: TailEvent }) {
  const [open, setOpen] = useState(false);
  const { type, group, at, device, line, json } = event;
  return (
    <li>
      <button type="button" className="tail-row" aria-expanded={open} onClick={() => setOpen(!open)}>
        <Clock at={at} />
        <span className={`kind ${group}`}>{type}</span>
        <span className="subject">{device}</span>
        <span className="muted line">{line}</span>
      </button>
      {open ? (
        <div className="tail-detail">
          {group === 'other' || device === '' ? null : (
            <Link to="/devices/$name" params={{ name: device }}>
              To {device}
            </Link>
          )}
          {/* biome-ignore lint/a11y/noNoninteractiveTabindex: otherwise keys could not scroll it */}
          <pre tabIndex={0}>{JSON.stringify(json, null, 2)}</pre>
        </div>
      ) : null}
    </li>
  );
});
