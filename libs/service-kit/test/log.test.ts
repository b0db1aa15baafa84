import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';

const LOG = new URL('../src/log.ts', import.meta.url).href;

/** The lines of a process that runs these statements with a logger. */
function lines(statements: string): Record<string, unknown>[] {
  const program = `import { createLogger, logAsOf } from '${LOG}'; const log = createLogger('service', 'service-1', 'info'); ${statements}`;
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' });
  return output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

it('no line shows a token', () => {
  const [top, below, error, plain] = lines(`
    log.info({ event: 'a', token: 'secret', authorization: 'secret' });
    log.info({ event: 'b', device: { name: 'x', token: 'secret' } });
    log.info({ event: 'c', err: Object.assign(new Error('why'), { token: 'secret' }) });
    log.info({ event: 'd', device: 'x' });
  `);
  expect(top).toMatchObject({ event: 'a', token: '[Redacted]', authorization: '[Redacted]' });
  expect(below).toMatchObject({ event: 'b', device: { name: 'x', token: '[Redacted]' } });
  expect(error).toMatchObject({ event: 'c', err: { message: 'why', token: '[Redacted]' } });
  expect(plain).toMatchObject({ event: 'd', device: 'x', service: 'service', instance: 'service-1' });
  expect(JSON.stringify([top, below, error])).not.toContain('secret');
});

it('lines that are written later bear the time of what they tell of', () => {
  const [late, now] = lines(`logAsOf(0, () => log.info({ event: 'late' })); log.info({ event: 'now' });`);
  expect(late).toMatchObject({ time: '1970-01-01T00:00:00.000Z' });
  expect(Date.parse(String(now?.time))).toBeGreaterThan(1e12);
});

it('whatever was thrown can be logged', () => {
  const [nothing, text] = lines(`log.info({ event: 'a', err: null }); log.info({ event: 'b', err: 'why' });`);
  expect(nothing).toMatchObject({ event: 'a', err: null });
  expect(text).toMatchObject({ event: 'b', err: 'why' });
});
