type Json = Record<string, unknown>;

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);

/**
 * What somebody who relies on the old schema of a message would miss in the new one: fields that went, that need not be there
 * any more, or whose type is another. Fields and enum values may be added, and limits may be tightened, since nobody who reads
 * a message suffers from that; limits that are loosened do not count, as texts and lists have room for it.
 */
export function brokenFields(before: unknown, after: unknown, path = ''): string[] {
  if (!isObject(before)) return [];
  if (!isObject(after)) return [`${path || '/'} is gone`];
  const faults: string[] = [];
  for (const word of ['type', 'const', 'format', 'pattern'] as const) {
    if (before[word] !== undefined && JSON.stringify(before[word]) !== JSON.stringify(after[word])) {
      faults.push(`${path || '/'}: ${word} was ${JSON.stringify(before[word])}, is ${JSON.stringify(after[word])}`);
    }
  }
  for (const value of list(before.enum)) {
    if (!list(after.enum).includes(value)) faults.push(`${path || '/'}: the value ${JSON.stringify(value)} is gone`);
  }
  for (const name of list(before.required)) {
    if (!list(after.required).includes(name)) faults.push(`${path}/${String(name)} need not be there any more`);
  }
  const [was, is] = [isObject(before.properties) ? before.properties : {}, isObject(after.properties) ? after.properties : {}];
  for (const [name, schema] of Object.entries(was)) {
    faults.push(...(is[name] === undefined ? [`${path}/${name} is gone`] : brokenFields(schema, is[name], `${path}/${name}`)));
  }
  faults.push(...(before.items === undefined ? [] : brokenFields(before.items, after.items, `${path}[]`)));
  for (const word of ['anyOf', 'oneOf', 'allOf'] as const) {
    for (const [i, schema] of list(before[word]).entries())
      faults.push(...brokenFields(schema, list(after[word])[i], `${path}(${i})`));
  }
  return faults;
}

/** The same for two AsyncAPI documents of ours; nothing is broken when the first number of the version was raised. */
export function brokenEvents(before: Json, after: Json): string[] {
  const major = (document: Json): number => Number.parseInt(String((document.info as Json | undefined)?.version ?? '0'), 10);
  if (major(after) > major(before)) return [];
  const at = (document: Json, kind: string): Json => ((document.components as Json | undefined)?.[kind] ?? {}) as Json;
  const channels = (document: Json): Json => (document.channels ?? {}) as Json;
  const faults: string[] = [];
  for (const [id, channel] of Object.entries(channels(before))) {
    const now = channels(after)[id];
    if (!isObject(now)) faults.push(`${id} is gone`);
    else if ((channel as Json).address !== now.address) faults.push(`${id}: its subject is another`);
  }
  for (const [id, schema] of Object.entries(at(before, 'schemas'))) {
    const now = at(after, 'schemas')[id];
    if (now !== undefined) faults.push(...brokenFields(schema, now).map((fault) => `${id}${fault}`));
  }
  return faults;
}
