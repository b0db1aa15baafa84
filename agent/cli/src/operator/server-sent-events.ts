export interface ServerSentEvent {
  /** Its own id; null when it has none. */
  id: string | null;
  /** What to resume after once it was seen. */
  lastId: string | undefined;
  type: string;
  /** Empty for one that says an id only. */
  data: string;
}

/** Reads text/event-stream. `onLine` is called for every line, comments included. */
export async function* serverSentEvents(text: AsyncIterable<string>, onLine: () => void): AsyncGenerator<ServerSentEvent> {
  let rest = '';
  let lastId: string | undefined;
  let fields = new Map<string, string>();
  for await (const chunk of text) {
    const lines = (rest + chunk).split(/\r?\n/);
    rest = lines.pop() ?? '';
    for (const line of lines) {
      onLine();
      if (line === '') {
        const id = fields.get('id') ?? null;
        lastId = id ?? lastId;
        if (fields.size > 0) yield { id, lastId, type: fields.get('event') ?? 'message', data: fields.get('data') ?? '' };
        fields = new Map();
        continue;
      }
      const at = line.indexOf(':');
      if (at < 1) continue; // a comment
      fields.set(line.slice(0, at), line.slice(at + 1).replace(/^ /, ''));
    }
  }
}
