import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Parser } from '@asyncapi/parser';
import { EVENT_TYPES } from '@culvert/contracts';
import { describe, expect, it } from 'vitest';
import { asyncApi, eventSchema } from './asyncapi.ts';
import { brokenEvents, brokenFields } from './compatible.ts';

const ROOT = new URL('../../', import.meta.url);
const FOLDER = new URL('docs/events/', ROOT);
const DOCUMENT = 'docs/events/asyncapi.json';
const show = (value: object): string => `${JSON.stringify(value, null, 2)}\n`;

/** Every file that is made of the types, by name. */
const files = (): Map<string, string> =>
  new Map([
    ['asyncapi.json', show(asyncApi())],
    ...EVENT_TYPES.map((type) => [`${type}.schema.json`, show(eventSchema(type))] as const),
  ]);

const git = (...args: string[]): string => execFileSync('git', args, { cwd: ROOT, encoding: 'utf8', maxBuffer: 1 << 26 });
const hasHistory = existsSync(new URL('.git', ROOT));

describe('the documents of the events', () => {
  it('are those of the types (CULVERT_WRITE_DOCS=1 writes them anew)', () => {
    const made = files();
    if (process.env.CULVERT_WRITE_DOCS === '1') {
      rmSync(FOLDER, { recursive: true, force: true });
      mkdirSync(FOLDER, { recursive: true });
      for (const [name, text] of made) writeFileSync(new URL(name, FOLDER), text);
    }
    expect(readdirSync(FOLDER).sort()).toEqual([...made.keys()].sort());
    for (const [name, text] of made) expect(readFileSync(new URL(name, FOLDER), 'utf8'), name).toBe(text);
  });

  it.skipIf(!hasHistory)('break nobody who reads by an earlier version of the same first number', () => {
    const now = asyncApi();
    for (const commit of git('log', '--format=%H', '--', DOCUMENT).split('\n').filter(Boolean)) {
      const text = git('show', `${commit}:${DOCUMENT}`);
      expect(brokenEvents(JSON.parse(text) as Record<string, unknown>, now), `since ${commit}`).toEqual([]);
    }
  });

  it('are accepted by the parser of AsyncAPI', async () => {
    const { document, diagnostics } = await new Parser().parse(show(asyncApi()));
    expect(diagnostics.filter(({ severity }) => severity === 0)).toEqual([]);
    expect(
      document
        ?.allMessages()
        .all()
        .map((message) => message.name())
        .sort(),
    ).toEqual([...EVENT_TYPES].sort());
  });
});

describe('the comparison of two versions', () => {
  type Document = {
    info: { version: string };
    channels: Record<string, unknown>;
    components: { schemas: Record<string, never> };
  };
  const changed = (change: (document: Document) => void): string[] => {
    const after = structuredClone(asyncApi()) as unknown as Document;
    change(after);
    return brokenEvents(asyncApi(), after as never);
  };

  it('finds an event, a field and a promise that went', () => {
    expect(changed((after) => delete after.channels.leaseMoved)).toEqual(['leaseMoved is gone']);
    const before = {
      type: 'object',
      required: ['a'],
      properties: { a: { type: 'string' }, b: { type: 'array', items: { type: 'integer' } } },
    };
    expect(brokenFields(before, { ...before, required: [] })).toEqual(['/a need not be there any more']);
    expect(brokenFields(before, { ...before, properties: { a: { type: 'string' } } })).toEqual(['/b is gone']);
    expect(brokenFields(before, { ...before, properties: { ...before.properties, a: { type: 'integer' } } })).toEqual([
      '/a: type was "string", is "integer"',
    ]);
    expect(brokenFields(before.properties.b, { type: 'array', items: { type: 'string' } })).toHaveLength(1);
    expect(brokenFields({ enum: ['x', 'y'] }, { enum: ['x'] })).toEqual(['/: the value "y" is gone']);
  });

  it('lets fields and events come, and anything at all with a raised first number', () => {
    expect(
      changed((after) => {
        after.channels.deviceNamed = {};
      }),
    ).toEqual([]);
    expect(brokenFields({ type: 'object', properties: {} }, { type: 'object', properties: { a: { type: 'string' } } })).toEqual(
      [],
    );
    expect(
      changed((after) => {
        after.info.version = '2.0.0';
        delete after.channels.leaseMoved;
      }),
    ).toEqual([]);
  });
});
