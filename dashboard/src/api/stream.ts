/**
 * A stream of server-sent events that stays: it comes back by itself after a break, and rests while nobody looks at the page.
 *
 *   connecting --opened--> open --broken--> lost --a pause that grows--> connecting
 *        any --the tab is hidden for a while--> resting --it is seen again--> connecting
 */
export type StreamState = 'connecting' | 'open' | 'lost';

export interface StreamOptions {
  url: string;
  /** By the type of the event. */
  on: Readonly<Record<string, (data: never) => void>>;
  onState?: (state: StreamState) => void;
}

const FIRST_PAUSE_MS = 1_000;
const MOST_PAUSE_MS = 15_000;
/** Browsers allow few connections to one host for all tabs together: hidden ones give theirs back. */
const HIDDEN_MS = 20_000;

/** Answers what ends it. */
export function openStream({ url, on, onState = () => {} }: StreamOptions): () => void {
  let source: EventSource | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let pause = FIRST_PAUSE_MS;
  let over = false;

  function connect(): void {
    clearTimeout(timer);
    if (over || source !== undefined) return;
    const opened = new EventSource(url);
    source = opened;
    opened.onopen = () => {
      pause = FIRST_PAUSE_MS;
      onState('open');
    };
    opened.onerror = () => {
      onState('lost');
      if (opened.readyState !== EventSource.CLOSED) return; // the browser tries again, and says what it had last
      disconnect();
      timer = setTimeout(connect, pause);
      pause = Math.min(pause * 2, MOST_PAUSE_MS);
    };
    for (const [type, listener] of Object.entries(on)) {
      opened.addEventListener(type, (event) => listener(JSON.parse((event as MessageEvent<string>).data) as never));
    }
  }
  function disconnect(): void {
    source?.close();
    source = undefined;
  }
  function onVisibility(): void {
    clearTimeout(timer);
    if (document.visibilityState === 'visible') connect();
    else timer = setTimeout(disconnect, HIDDEN_MS);
  }
  function onOnline(): void {
    disconnect();
    connect();
  }

  document.addEventListener('visibilitychange', onVisibility);
  addEventListener('online', onOnline);
  onState('connecting');
  connect();
  return () => {
    over = true;
    clearTimeout(timer);
    document.removeEventListener('visibilitychange', onVisibility);
    removeEventListener('online', onOnline);
    disconnect();
  };
}
